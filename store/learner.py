"""The learner's status and orders to the learner: the only connection between service and learner."""

import json
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from store.events import add_event
from store.ids import now
from store.json_columns import json_of

ORDERS = ("update", "pause", "resume")


@dataclass(frozen=True)
class LearnerStatus:
    """The learner's last report. `attempted_seq` is the seq of the last feedback that a run was made with.

    A recent `heartbeat_at` means that the learner is alive.
    """

    state: str  # idle | preparing | running | paused | down
    paused: bool
    heartbeat_at: str | None
    run_id: str | None
    progress: dict[str, Any] | None
    next_at: str | None
    attempted_seq: int
    detail: dict[str, Any]


def learner_status(db: Database) -> LearnerStatus:
    """Return the learner's last report."""
    row = next(iter(db.query("SELECT * FROM learner_status WHERE id = 1")))
    progress = json_of(row["progress"], {}) if row["progress"] else None
    known = {**row, "paused": bool(row["paused"]), "progress": progress, "detail": json_of(row["detail"], {})}
    return LearnerStatus(**{name: value for name, value in known.items() if name != "id"})


def report_status(
    db: Database,
    state: str,
    *,
    run_id: str | None = None,
    progress: dict[str, Any] | None = None,
    next_at: str | None = None,
) -> None:
    """Store the learner's heartbeat and state; a change of state is an event, and progress while it prepares."""
    before = learner_status(db)
    db.execute(
        "UPDATE learner_status SET state = ?, heartbeat_at = ?, run_id = ?, progress = ?, next_at = ?",
        [state, now(), run_id, json.dumps(progress) if progress is not None else None, next_at],
    )
    if state == "preparing" and (before.state, before.progress) != (state, progress):
        add_event(db, "learner.state", {"state": state, **(progress or {})})
    elif before.state != state:
        add_event(db, "learner.state", {"state": state})


def set_detail(db: Database, detail: dict[str, Any]) -> None:
    """Store the learner's setup (trigger, model, device, ...) for display."""
    db.execute("UPDATE learner_status SET detail = ?", [json.dumps(detail)])


def set_attempted(db: Database, seq: int) -> None:
    """Record that a run was made with all useful feedback up to `seq`, whatever its result."""
    db.execute("UPDATE learner_status SET attempted_seq = max(attempted_seq, ?)", [seq])


def set_paused(db: Database, paused: bool) -> None:
    """Pause the learner, also after a restart, or resume it."""
    db.execute("UPDATE learner_status SET paused = ?", [int(paused)])


def add_order(db: Database, kind: str) -> None:
    """Give the learner an order; it looks for orders several times a second. Raises ValueError for an unknown kind."""
    if kind not in ORDERS:
        raise ValueError(f"unknown order {kind!r}; choose from {', '.join(ORDERS)}")
    db.table("learner_orders").insert({"kind": kind, "created_at": now(), "done_at": None})


def orders_wait(db: Database) -> bool:
    """Whether there are new orders. It takes no lock, unlike `take_orders`."""
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM learner_orders WHERE done_at IS NULL)").fetchone()[0])


def take_orders(db: Database) -> list[str]:
    """Return the new orders, oldest first, and mark them as taken."""
    taken = [
        (row["id"], row["kind"])
        for row in db.query("SELECT id, kind FROM learner_orders WHERE done_at IS NULL ORDER BY id")
    ]
    for order_id, _ in taken:
        db.execute("UPDATE learner_orders SET done_at = ? WHERE id = ?", [now(), order_id])
    return [kind for _, kind in taken]
