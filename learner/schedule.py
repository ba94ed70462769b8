"""When an update starts. Pure: the loop looks at the store and the clock and asks."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal


@dataclass(frozen=True)
class Trigger:
    """`items` start an update at once; `seconds` after the first waiting one, `min_items` are enough."""

    items: int
    seconds: float
    min_items: int


@dataclass(frozen=True)
class Situation:
    """What the loop sees. `waiting` counts useful items that no run was made with; `unlearned` all that live has not
    learned from.
    """

    waiting: int
    first_at: datetime | None
    unlearned: int
    paused: bool = False
    ordered: bool = False
    candidate_waits: bool = False
    retry_due: bool = False
    not_before: datetime | None = None


@dataclass(frozen=True)
class Decision:
    """`start`: why an update starts now ("" if none does); `next_at`: when the clock would start one, if nothing else
    happens.
    """

    start: Literal["", "items", "time", "order", "retry"]
    next_at: datetime | None = None


def decision(situation: Situation, trigger: Trigger, now: datetime) -> Decision:
    """Return whether an update starts now, why, and else when.

    Nothing starts while a candidate that passed waits for the service: the next update starts from the version that
    people see.
    An order overrules a pause and the back-off after a failure, and takes a single item; it waits for a candidate all
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
    if s.waiting >= trigger.items:
        return Decision("items")
    if s.waiting >= trigger.min_items and s.first_at is not None:
        due = s.first_at + timedelta(seconds=trigger.seconds)
        return Decision("time", due) if now >= due else Decision("", due)
    return Decision("")


def back_off_s(failures: int) -> float:
    """Return the seconds to wait after that many failed runs in a row: 5, 10, 20, ... at most 300."""
    return min(300.0, 5.0 * 2 ** (failures - 1)) if failures > 0 else 0.0
