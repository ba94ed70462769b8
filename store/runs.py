"""Runs: one row for each update of the learner, from its plan to its end.

A run that is still `running` when the learner starts is repeated as planned.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils import Database

from store.events import add_event
from store.ids import now
from store.json_columns import json_of


@dataclass(frozen=True)
class Run:
    """One run. It learns from useful feedback with `after_seq < seq <= upto_seq`.

    `settings` and `seed` make it repeatable.
    """

    id: str
    algorithm: str
    state: str
    settings: dict[str, Any]
    seed: int
    parent: int
    items: int
    after_seq: int
    upto_seq: int
    started_at: str
    attempt: int = 1
    version: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    finished_at: str | None = None


def add_run(db: Database, run: Run) -> None:
    """Append a run that starts now."""
    row = {name: getattr(run, name) for name in run.__dataclass_fields__}
    db.table("runs").insert({**row, "settings": json.dumps(run.settings), "metrics": json.dumps(run.metrics)})
    _announce(db, run)


def unfinished_run(db: Database) -> Run | None:
    """Return the run that a crash interrupted, if any."""
    for row in db.query("SELECT * FROM runs WHERE state = 'running' ORDER BY started_at LIMIT 1"):
        return _run(row)
    return None


def restart_run(db: Database, run_id: str) -> Run:
    """Count another attempt at an interrupted run; return the run."""
    db.execute("UPDATE runs SET attempt = attempt + 1 WHERE id = ?", [run_id])
    run = get_run(db, run_id)
    _announce(db, run)
    return run


def set_run_settings(db: Database, run_id: str, settings: Mapping[str, Any]) -> None:
    """Replace the settings of a run, for one that another release planned under other names."""
    db.execute("UPDATE runs SET settings = ? WHERE id = ?", [json.dumps(settings), run_id])


def get_run(db: Database, run_id: str) -> Run:
    """Return one run. Raises LookupError."""
    for row in db.query("SELECT * FROM runs WHERE id = ?", [run_id]):
        return _run(row)
    raise LookupError(f"there is no run {run_id!r}")


def runs(db: Database, limit: int = 50) -> list[Run]:
    """Return the newest runs, newest first."""
    return [_run(row) for row in db.query("SELECT * FROM runs ORDER BY started_at DESC, id DESC LIMIT ?", [limit])]


def note_run(db: Database, run_id: str, metrics: Mapping[str, Any]) -> None:
    """Store the metrics of a run so far; they stay if it fails or the process ends."""
    db.execute("UPDATE runs SET metrics = ? WHERE id = ? AND state = 'running'", [json.dumps(metrics), run_id])


def finish_run(db: Database, run_id: str, version: int | None, metrics: Mapping[str, Any]) -> None:
    """Mark a run as finished; `version` is None when it made none."""
    db.execute(
        "UPDATE runs SET state = 'finished', version = ?, metrics = ?, finished_at = ? WHERE id = ?",
        [version, json.dumps(metrics), now(), run_id],
    )
    add_event(db, "run.finished", {"run_id": run_id, "version": version, "metrics": dict(metrics)})


def fail_run(db: Database, run_id: str, error: str) -> None:
    """Mark a run as failed with one sentence. Its metrics (`note_run`) and the live version stay."""
    db.execute("UPDATE runs SET state = 'failed', error = ?, finished_at = ? WHERE id = ?", [error, now(), run_id])
    add_event(db, "run.failed", {"run_id": run_id, "error": error})


def _announce(db: Database, run: Run) -> None:
    data = {
        "run_id": run.id,
        "algorithm": run.algorithm,
        "parent": run.parent,
        "items": run.items,
        "attempt": run.attempt,
    }
    add_event(db, "run.started", data)


def _run(row: dict[str, Any]) -> Run:
    return Run(**{**row, "settings": json_of(row["settings"], {}), "metrics": json_of(row["metrics"], {})})
