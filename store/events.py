"""One sequence of what happened, which the page and the SDK follow. Written in the transaction of what it tells."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from store.ids import now


@dataclass(frozen=True)
class Event:
    """One thing that happened; `seq` grows by time and never repeats."""

    seq: int
    kind: str
    data: dict[str, Any]
    created_at: str


def add_event(db: Database, kind: str, data: Mapping[str, Any]) -> None:
    """Append one event. Call it inside the transaction that makes it true."""
    db.table("events").insert({"kind": kind, "data": json.dumps(data), "created_at": now()})


def events_after(db: Database, seq: int, limit: int = 500) -> list[Event]:
    """Return events with a sequence number above `seq`, oldest first, at most `limit`."""
    rows = db.query("SELECT * FROM events WHERE seq > ? ORDER BY seq LIMIT ?", [seq, limit])
    return [Event(row["seq"], row["kind"], json.loads(row["data"]), row["created_at"]) for row in rows]


def last_event_seq(db: Database) -> int:
    """Return the newest event's sequence number, 0 when nothing happened yet."""
    return int(db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])
