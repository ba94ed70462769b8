"""The learner's state as the contract shows it. Service and learner only meet in the store."""

from datetime import UTC, datetime
from typing import Any

from sqlite_utils import Database

from store.feedback import count_feedback, count_to_learn
from store.learner import learner_status
from store.runs import Run, get_run, runs
from store.versions import live_version

SILENT_S = 5.0  # a learner without a heartbeat for so long is down


def describe_learner(db: Database) -> dict[str, Any]:
    """Return what the learner does, what waits for it, and when it begins next."""
    status, live, last = learner_status(db), live_version(db), next(iter(runs(db, 1)), None)
    waiting, first_at, _ = count_to_learn(db, max(live.watermark, status.attempted_seq))
    state = status.state if not is_silent(status.heartbeat_at) else "down"
    return {
        "state": state,
        "preparation": status.progress if state == "preparing" else None,
        "paused": status.paused,
        "waiting": waiting,
        "first_waiting_at": first_at,
        "trigger": status.detail.get("trigger"),
        "run": _run_under_way(db, status.run_id, status.progress),
        "next_at": status.next_at,
        "live": live.number,
        "last_run": _ended_run(last) if last is not None and last.state != "running" else None,
        "heartbeat_at": status.heartbeat_at,
        "seen": count_feedback(db),
        "reward_model": status.detail.get("reward_model"),
        "detail": {name: value for name, value in status.detail.items() if name != "reward_model"},
    }


def is_silent(heartbeat_at: str | None) -> bool:
    """Whether the last heartbeat is too old, or there was none."""
    return heartbeat_at is None or (datetime.now(UTC) - datetime.fromisoformat(heartbeat_at)).total_seconds() > SILENT_S


def scalar_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the plain numbers of a run's metrics, without its curves, which lists would repeat on every request."""
    return {name: value for name, value in metrics.items() if not isinstance(value, (dict, list))}


def _run_under_way(db: Database, run_id: str | None, progress: dict[str, Any] | None) -> dict[str, Any] | None:
    if run_id is None:
        return None
    try:
        run = get_run(db, run_id)
    except LookupError:  # the status is written a moment before the run's row
        return None
    return {
        "id": run.id,
        "algorithm": run.algorithm,
        "started_at": run.started_at,
        "items": run.items,
        "parent": run.parent,
        "phase": "planned",
        "step": 0,
        "steps": 0,
        "loss": None,
        "metrics": {},
        **(progress or {}),
    }


def _ended_run(run: Run) -> dict[str, Any]:
    names = ("id", "algorithm", "state", "version", "parent", "items", "error", "started_at", "finished_at")
    return {**{name: getattr(run, name) for name in names}, "metrics": scalar_metrics(run.metrics)}
