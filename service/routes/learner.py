"""What the learner does, and orders to it. Service and learner only meet in the store."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from sqlite_utils import Database

from service.auth import Admin, Anyone, service_of
from store.feedback import count_feedback, count_to_learn
from store.learner import add_order, learner_status
from store.runs import Run, get_run, runs
from store.versions import live_version

router = APIRouter(tags=["learning"])
SILENT_S = 5.0  # a learner that said nothing for so long is down


@router.get("/v1/learner")
async def learner(request: Request, caller: Anyone) -> dict[str, Any]:
    """Tell what the learner does, what waits for it, and when it begins next."""
    return await service_of(request).records.read(describe_learner)


@router.post("/v1/learner/update", status_code=202)
async def update(request: Request, caller: Admin) -> dict[str, Any]:
    """Ask for an update now, with whatever waits."""
    return await _order(request, "update")


@router.post("/v1/learner/pause", status_code=202)
async def pause(request: Request, caller: Admin) -> dict[str, Any]:
    """Keep the learner from beginning updates; feedback is still taken."""
    return await _order(request, "pause")


@router.post("/v1/learner/resume", status_code=202)
async def resume(request: Request, caller: Admin) -> dict[str, Any]:
    """Let the learner begin updates again."""
    return await _order(request, "resume")


async def _order(request: Request, kind: str) -> dict[str, Any]:
    records = service_of(request).records
    await records.write(lambda db: add_order(db, kind))
    return await records.read(describe_learner)


def describe_learner(db: Database) -> dict[str, Any]:
    """Return the learner's state as the contract shows it."""
    status, live, last = learner_status(db), live_version(db), next(iter(runs(db, 1)), None)
    waiting, first_at, _ = count_to_learn(db, max(live.watermark, status.attempted_seq))
    return {
        "state": status.state if not is_silent(status.heartbeat_at) else "down",
        "paused": status.paused,
        "waiting": waiting,
        "first_waiting_at": first_at,
        "trigger": status.detail.get("trigger"),
        "run": _under_way(db, status.run_id, status.progress),
        "next_at": status.next_at,
        "live": live.number,
        "last_run": _ended(last) if last is not None and last.state != "running" else None,
        "heartbeat_at": status.heartbeat_at,
        "seen": count_feedback(db),
        "detail": status.detail,
    }


def is_silent(heartbeat_at: str | None) -> bool:
    """Whether the last word is too old, or was never said."""
    return heartbeat_at is None or (datetime.now(UTC) - datetime.fromisoformat(heartbeat_at)).total_seconds() > SILENT_S


def _under_way(db: Database, run_id: str | None, progress: dict[str, Any] | None) -> dict[str, Any] | None:
    if run_id is None:
        return None
    try:
        run = get_run(db, run_id)
    except LookupError:  # said a moment before the run's row
        return None
    told = {"phase": "planned", "step": 0, "steps": 0, "loss": None, "metrics": {}, **(progress or {})}
    return {
        "id": run.id,
        "algorithm": run.algorithm,
        "started_at": run.started_at,
        "items": run.items,
        "parent": run.parent,
        **told,
    }


def _ended(run: Run) -> dict[str, Any]:
    names = ("id", "algorithm", "state", "version", "parent", "items", "error", "started_at", "finished_at")
    return {**{name: getattr(run, name) for name in names}, "metrics": in_brief(run.metrics)}


def in_brief(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers alone: a run's whole curve comes with its version, since this is asked for all the time."""
    return {name: value for name, value in metrics.items() if not isinstance(value, (dict, list))}
