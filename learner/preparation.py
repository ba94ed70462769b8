"""What the learner does while it waits for feedback: it makes anchors, until an update is due or it is to stop."""

import threading
import time
from collections.abc import Callable
from datetime import datetime

from sqlite_utils import Database

from learner.heartbeat import LearnerReport
from learner.model.anchor_stock import AnchorStock
from learner.schedule import Decision
from learner.settings import LearnerSettings
from store.feedback import count_to_learn
from store.learner import learner_status
from store.runs import runs
from store.versions import live_version, passed_candidate

LOOK_S = 0.2  # seconds between two looks at the store


class Interrupted(BaseException):
    """The learner is asked to stop in the middle of its work."""


class UpdateDue(BaseException):
    """An update is due: `decision` says why."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.start)
        self.decision = decision


class DueWatch:
    """Looks every `LOOK_S` whether an update is due, by `decide`."""

    def __init__(self, decide: Callable[[], Decision], stop: threading.Event) -> None:
        self._decide, self._stop = decide, stop
        self._looked_at = time.monotonic()

    def look(self) -> None:
        """Raise Interrupted when the learner is asked to stop, and UpdateDue when an update is due."""
        if self._stop.is_set():
            raise Interrupted
        if time.monotonic() - self._looked_at < LOOK_S:
            return
        chosen = self._decide()
        self._looked_at = time.monotonic()
        if chosen.start:
            raise UpdateDue(chosen)


def may_prepare(db: Database) -> bool:
    """Whether anchors are needed soon: there is feedback, or there was an update. Not while a candidate waits."""
    if learner_status(db).paused or passed_candidate(db) is not None:
        return False
    return bool(runs(db, 1) or count_to_learn(db, live_version(db).watermark)[0])


def preparing_report(stock: AnchorStock, next_at: datetime | None = None) -> LearnerReport:
    """Return the report of a learner that makes anchors: how many are made, of how many."""
    progress = {"done": len(stock.made), "total": stock.goal}
    return LearnerReport("preparing", progress=progress, next_at=next_at.isoformat() if next_at else None)


def with_anchors_at_hand(settings: LearnerSettings, stock: AnchorStock) -> LearnerSettings:
    """Return the settings of an update with as many anchors as are made, or enough of them.

    A run keeps them, so that it has the same ones when it is done again.
    """
    count = max(len(stock.made), stock.sufficient)
    return settings.model_copy(update={"anchors": settings.anchors.model_copy(update={"count": count})})
