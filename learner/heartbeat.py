"""What the learner says of itself while it works: heartbeat, state and progress, from a thread of its own with a
connection of its own.
"""

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store.database import connect, transaction
from store.events import add_event
from store.learner import report_status

log = logging.getLogger(__name__)
BEAT_S = 0.8  # longest silence
PACE_S = 0.3  # shortest time between two words about progress


@dataclass(frozen=True)
class Word:
    """What there is to say now."""

    state: str = "idle"
    run_id: str | None = None
    progress: dict[str, Any] | None = None
    next_at: str | None = None


class Voice:
    """Says the latest word at least every `BEAT_S`, and a new one soon, however busy the learner's own thread is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._word = Word()
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="learner-voice", daemon=True)
        self._thread.start()

    def tell(self, word: Word) -> None:
        """Replace what is said."""
        with self._wake:
            if word != self._word:
                self._word = word
                self._wake.notify()

    def close(self) -> None:
        """Say a last time that the learner is down, and stop."""
        with self._wake:
            self._word, self._closed = Word("down"), True
            self._wake.notify()
        self._thread.join(10)

    def _work(self) -> None:
        db = connect(self._folder)
        said, said_at, told = Word(), 0.0, None
        while True:
            with self._wake:
                if self._word == said and not self._closed:
                    self._wake.wait(max(0.0, said_at + BEAT_S - time.monotonic()))
                word, closed = self._word, self._closed
            only_progress = word.state == said.state and word.run_id == said.run_id
            if only_progress and not closed and time.monotonic() < said_at + PACE_S:
                time.sleep(max(0.0, said_at + PACE_S - time.monotonic()))
                word = self._word
            try:
                with transaction(db):
                    report_status(db, word.state, run_id=word.run_id, progress=word.progress, next_at=word.next_at)
                    if word.progress is not None and word.run_id is not None and word.progress != told:
                        add_event(db, "run.progress", {"run_id": word.run_id, **word.progress})
                        told = word.progress
            except (
                Exception
            ) as error:  # a full disk or a locked database must not end the learner; the next beat tries again
                log.warning("the heartbeat could not be written: %s", error)
            said, said_at = word, time.monotonic()
            if closed:
                db.close()
                return
