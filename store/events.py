"""One sequence of events for the page and the SDK. Each is written in the transaction that it reports."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from store.ids import now
from store.json_columns import json_of


@dataclass(frozen=True)
class Event:
    """One event; `seq` increases and is never reused."""

    seq: int
    kind: str
    data: dict[str, Any]
    created_at: str


def add_event(db: Database, kind: str, data: Mapping[str, Any]) -> None:
    """Append one event. Call it inside the transaction that it reports."""
    db.table("events").insert({"kind": kind, "data": json.dumps(data), "created_at": now()})


def events_after(db: Database, seq: int, limit: int = 500) -> list[Event]:
    """Return events with a sequence number above `seq`, oldest first, at most `limit`."""
    rows = db.query("SELECT * FROM events WHERE seq > ? ORDER BY seq LIMIT ?", [seq, limit])
    return [Event(row["seq"], row["kind"], json_of(row["data"], {}), row["created_at"]) for row in rows]


def last_event_seq(db: Database) -> int:
    """Return the newest event's sequence number, 0 without events."""
    return int(db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])
