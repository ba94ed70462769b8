"""The record of a run while it goes on: the heartbeat's progress, the curve in its row, and TensorBoard's files."""

import logging
import sqlite3
import time
from pathlib import Path
from typing import Any, Self

from sqlite_utils import Database

from learner.cost import Cost
from learner.heartbeat import Heartbeat, LearnerReport
from learner.priority import prompt_transaction
from learner.tensorboard import TensorBoardLog
from store.runs import Run, note_run

log = logging.getLogger(__name__)
WRITE_EVERY_S = 2.0  # shortest time between two writes of the run's metrics so far


class RunRecorder:
    """Records a run's phases and steps. `phase` is what an update calls; as a context it closes TensorBoard's files."""

    def __init__(self, db: Database, heartbeat: Heartbeat, run: Run, logs: Path) -> None:
        """`logs` is the folder of TensorBoard's files of all runs."""
        self._db, self._heartbeat, self._run = db, heartbeat, run
        self._scalars = TensorBoardLog(logs / f"{run.id}-{run.attempt}")
        self._curve: list[dict[str, float | None]] = []
        self._cost, self._written_at = Cost(), time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._scalars.close()

    def phase(self, name: str, step: int, steps: int, loss: float | None, metrics: dict[str, float]) -> None:
        """Report a phase's progress; record the metrics of a training step."""
        finite = {key: round(value, 5) for key, value in metrics.items() if value == value}
        report_progress(self._heartbeat, self._run, name, step=step, steps=steps, loss=loss, metrics=finite)
        if name == "train":
            self._scalars.add(step, {"loss": loss, **metrics})
            self._curve.append({"step": step, "loss": loss, **finite})
            if time.monotonic() - self._written_at > WRITE_EVERY_S:
                self._written_at = time.monotonic()
                self.write()

    def write(self) -> None:
        """Write the metrics so far, the cost and the curve to the run's row."""
        last = self._curve[-1] if self._curve else {}
        try:
            with prompt_transaction(self._db):
                note_run(self._db, self._run.id, {**last, **self._cost.so_far(), "curve": self._curve})
        except sqlite3.OperationalError as error:  # busy, or a full disk: the curve can wait, the run goes on
            log.warning("%s: its metrics so far could not be written: %s", self._run.id, error)

    def finish(self, steps: int, metrics: dict[str, Any]) -> None:
        """Add the run's metrics to TensorBoard's files, at the last step."""
        self._scalars.add(steps, {name: value for name, value in metrics.items() if isinstance(value, float)})


def report_progress(
    heartbeat: Heartbeat,
    run: Run,
    phase: str,
    *,
    step: int = 0,
    steps: int = 0,
    loss: float | None = None,
    metrics: dict[str, float] | None = None,
) -> None:
    """Report that a run is in a phase."""
    progress = {
        "phase": phase,
        "step": step,
        "steps": steps,
        "loss": loss,
        "metrics": metrics or {},
        "started_at": run.started_at,
        "items": run.items,
        "algorithm": run.algorithm,
    }
    heartbeat.report(LearnerReport("running", run.id, progress))
