"""What the learner says of itself, and what it is told to do: the only way in which service and learner speak."""

import json
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from store.events import add_event
from store.ids import now

ORDERS = ("update", "pause", "resume")


@dataclass(frozen=True)
class LearnerStatus:
    """The learner's own word. `heartbeat_at` tells whether it lives; `attempted_seq` is the last feedback that a run
    was made with.
    """

    state: str  # idle | running | paused | down
    paused: bool
    heartbeat_at: str | None
    run_id: str | None
    progress: dict[str, Any] | None
    next_at: str | None
    attempted_seq: int
    detail: dict[str, Any]


def learner_status(db: Database) -> LearnerStatus:
    """Return the last word of the learner."""
    row = next(iter(db.query("SELECT * FROM learner_status WHERE id = 1")))
    progress = json.loads(row["progress"]) if row["progress"] else None
    known = {**row, "paused": bool(row["paused"]), "progress": progress, "detail": json.loads(row["detail"])}
    return LearnerStatus(**{name: value for name, value in known.items() if name != "id"})


def report_status(
    db: Database,
    state: str,
    *,
    run_id: str | None = None,
    progress: dict[str, Any] | None = None,
    next_at: str | None = None,
) -> None:
    """Write the learner's heartbeat and state; a change of state is an event."""
    before = db.execute("SELECT state FROM learner_status").fetchone()[0]
    db.execute(
        "UPDATE learner_status SET state = ?, heartbeat_at = ?, run_id = ?, progress = ?, next_at = ?",
        [state, now(), run_id, json.dumps(progress) if progress is not None else None, next_at],
    )
    if before != state:
        add_event(db, "learner.state", {"state": state})


def set_detail(db: Database, detail: dict[str, Any]) -> None:
    """Record what the learner works with (trigger, model, device, ...), for people to see."""
    db.execute("UPDATE learner_status SET detail = ?", [json.dumps(detail)])


def set_attempted(db: Database, seq: int) -> None:
    """Note that a run was made with all useful feedback up to `seq`, whatever came of it."""
    db.execute("UPDATE learner_status SET attempted_seq = max(attempted_seq, ?)", [seq])


def set_paused(db: Database, paused: bool) -> None:
    """Keep the learner from starting runs, also after a restart, until it is resumed."""
    db.execute("UPDATE learner_status SET paused = ?", [int(paused)])


def add_order(db: Database, kind: str) -> None:
    """Ask the learner for something; it looks every fraction of a second. Raises ValueError for an unknown kind."""
    if kind not in ORDERS:
        raise ValueError(f"unknown order {kind!r}; choose from {', '.join(ORDERS)}")
    db.table("learner_orders").insert({"kind": kind, "created_at": now(), "done_at": None})


def take_orders(db: Database) -> list[str]:
    """Return what was asked for since the last call, oldest first, and mark it as taken."""
    taken = [
        (row["id"], row["kind"])
        for row in db.query("SELECT id, kind FROM learner_orders WHERE done_at IS NULL ORDER BY id")
    ]
    for order_id, _ in taken:
        db.execute("UPDATE learner_orders SET done_at = ? WHERE id = ?", [now(), order_id])
    return [kind for _, kind in taken]
