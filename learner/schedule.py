"""When an update starts. Pure: the loop looks at the store and the clock and asks."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from learner.settings import TriggerSettings


@dataclass(frozen=True)
class Situation:
    """What the loop sees."""

    waiting: int
    """Useful feedback rows that no run was made with."""
    first_at: datetime | None
    """When the first of them was given."""
    unlearned: int
    """Useful feedback rows that the live version has not learned from."""
    paused: bool = False
    ordered: bool = False
    candidate_waits: bool = False
    """A candidate passed the gate and is not served yet."""
    retry_due: bool = False
    """The gate rejected the last update, which has not been tried again."""
    not_before: datetime | None = None
    """The end of the wait after failed runs."""


@dataclass(frozen=True)
class Decision:
    """Whether an update starts now."""

    start: Literal["", "feedback", "time", "order", "retry"]
    """Why an update starts; "" if none does."""
    next_at: datetime | None = None
    """When the clock would start one, if nothing else happens."""


def decision(situation: Situation, trigger: TriggerSettings, now: datetime) -> Decision:
    """Return whether an update starts now, why, and else when.

    Nothing starts while a candidate waits to be served: the next update starts from the version that people see. An
    order overrules a pause and the wait after a failure, and takes a single feedback row; it waits for a candidate all
    the same.
    """
    s = situation
    if s.candidate_waits:
        return Decision("")
    if s.ordered and s.unlearned >= 1:
        return Decision("order")
    if s.paused:
        return Decision("")
    if s.not_before is not None and now < s.not_before:
        return Decision("", s.not_before if s.waiting else None)
    if s.retry_due:
        return Decision("retry")
    if s.waiting >= trigger.feedback:
        return Decision("feedback")
    if s.waiting >= trigger.min_feedback and s.first_at is not None:
        due = s.first_at + timedelta(seconds=trigger.seconds)
        return Decision("time", due) if now >= due else Decision("", due)
    return Decision("")


def back_off_s(failures: int) -> float:
    """Return the seconds to wait after that many failed runs in a row: 5, 10, 20, ... at most 300."""
    return min(300.0, 5.0 * 2 ** (failures - 1)) if failures > 0 else 0.0
