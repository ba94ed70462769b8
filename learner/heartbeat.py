"""The learner's heartbeat: its state and progress in the store, from a thread and a connection of its own."""

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learner.priority import keep_usual
from store.database import connect, transaction
from store.events import add_event
from store.learner import report_status

log = logging.getLogger(__name__)
BEAT_S = 0.8  # longest time between two reports
PACE_S = 0.3  # shortest time between two reports of progress


@dataclass(frozen=True)
class LearnerReport:
    """What the learner does now."""

    state: str = "idle"
    run_id: str | None = None
    progress: dict[str, Any] | None = None
    next_at: str | None = None
    """When the clock would start an update."""


class Heartbeat:
    """Writes the latest report at least every `BEAT_S`, and a new one soon, while the learner's own thread is busy."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._latest = LearnerReport()
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="learner-heartbeat", daemon=True)
        self._thread.start()

    def report(self, latest: LearnerReport) -> None:
        """Replace the report that is written."""
        with self._wake:
            if latest != self._latest:
                self._latest = latest
                self._wake.notify()

    def close(self) -> None:
        """Report that the learner is down, and stop."""
        with self._wake:
            self._latest, self._closed = LearnerReport("down"), True
            self._wake.notify()
        self._thread.join(10)

    def _work(self) -> None:
        keep_usual()
        db = connect(self._folder)
        written, written_at, event = LearnerReport(), 0.0, None
        while True:
            with self._wake:
                if self._latest == written and not self._closed:
                    self._wake.wait(max(0.0, written_at + BEAT_S - time.monotonic()))
                latest, closed = self._latest, self._closed
            only_progress = latest.state == written.state and latest.run_id == written.run_id
            if only_progress and not closed and time.monotonic() < written_at + PACE_S:
                time.sleep(max(0.0, written_at + PACE_S - time.monotonic()))
                latest = self._latest
            try:
                with transaction(db):
                    report_status(
                        db, latest.state, run_id=latest.run_id, progress=latest.progress, next_at=latest.next_at
                    )
                    if latest.progress is not None and latest.run_id is not None and latest.progress != event:
                        add_event(db, "run.progress", {"run_id": latest.run_id, **latest.progress})
                        event = latest.progress
            except Exception as error:  # a full disk or a locked database: the next beat tries again
                log.warning("the heartbeat could not be written: %s", error)
            written, written_at = latest, time.monotonic()
            if closed:
                db.close()
                return
