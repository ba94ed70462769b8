"""Versions of the policy and their states. Version 0 is the base model.

candidate -> rejected | canary -> live -> retired, and all of them -> withdrawn. A person may make a retired or
withdrawn version live again. A unique index makes two live versions impossible.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils import Database

from store.errors import UnknownVersion, WrongState
from store.events import add_event
from store.ids import now
from store.json_columns import json_of

STATES = ("candidate", "rejected", "canary", "live", "retired", "withdrawn")


@dataclass(frozen=True)
class Version:
    """One version. `folder` is relative to the data folder, "" for the base model.

    `watermark` is the seq of the last feedback that it learned from. `passed` is the gate's verdict, None before it,
    and `gate` its report. `metrics` are those of the run that made it.
    """

    number: int
    parent: int | None
    state: str
    digest: str
    folder: str
    watermark: int
    algorithm: str
    created_at: str
    run_id: str | None = None
    passed: bool | None = None
    gate: dict[str, Any] | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    live_at: str | None = None
    retired_at: str | None = None


def ensure_base_version(db: Database, digest: str) -> None:
    """Add version 0 as live unless there are versions. Raises WrongState for a data folder of another base model."""
    for row in db.query("SELECT digest FROM versions WHERE number = 0"):
        if row["digest"] != digest:
            raise WrongState(
                f"this data folder has a base model with digest {row['digest'][:12]}, not {digest[:12]}; "
                "name that model with --model or name another --data folder; `attune adopt` brings people's "
                "conversations and feedback along"
            )
        return
    at = now()
    add_version(db, Version(0, None, "live", digest, "", 0, "base", at, passed=True, live_at=at), ())
    db.table("traffic").insert({"live": 0, "canary": None, "share": 0.0, "reason": "base model", "created_at": at})


def next_version_number(db: Database) -> int:
    """Return the number of the next version; numbers are never reused."""
    query = (
        "SELECT max(coalesce((SELECT max(number) FROM versions), -1), "
        "coalesce((SELECT max(version) FROM runs), -1)) + 1"
    )
    return int(db.execute(query).fetchone()[0])


def add_version(db: Database, version: Version, feedback_ids: Iterable[str]) -> None:
    """Append a version and the ids of its feedback. Call it in the transaction that finishes its run."""
    row = {name: getattr(version, name) for name in version.__dataclass_fields__}
    gate = json.dumps(version.gate) if version.gate is not None else None
    db.table("versions").insert({**row, "gate": gate, "metrics": json.dumps(version.metrics)})
    db.table("feedback_of_version").insert_all(
        {"version": version.number, "feedback_id": feedback_id} for feedback_id in feedback_ids
    )
    if version.state == "candidate":
        add_event(db, "version.candidate", {"version": version.number, "parent": version.parent})


def get_version(db: Database, number: int) -> Version:
    """Return one version. Raises UnknownVersion."""
    for row in db.query("SELECT * FROM versions WHERE number = ?", [number]):
        return _version(row)
    raise UnknownVersion(f"there is no version {number}")


def versions(db: Database) -> list[Version]:
    """Return all versions, oldest first."""
    return [_version(row) for row in db.query("SELECT * FROM versions ORDER BY number")]


def live_version(db: Database) -> Version:
    """Return the live version. Raises UnknownVersion before there is one."""
    for row in db.query("SELECT * FROM versions WHERE state = 'live'"):
        return _version(row)
    raise UnknownVersion("no version is live yet: the service has not started on this data folder")


def passed_candidate(db: Database) -> Version | None:
    """Return the oldest candidate that passed the gate, if any."""
    for row in db.query("SELECT * FROM versions WHERE state = 'candidate' AND passed = 1 ORDER BY number LIMIT 1"):
        return _version(row)
    return None


def feedback_of_version(db: Database, number: int) -> list[str]:
    """Return the ids of the feedback of this version's own update, without its ancestors', oldest first."""
    rows = db.query(
        "SELECT f.id FROM feedback_of_version v JOIN feedback f ON f.id = v.feedback_id "
        "WHERE v.version = ? ORDER BY f.seq",
        [number],
    )
    return [row["id"] for row in rows]


def set_verdict(db: Database, number: int, passed: bool, gate: dict[str, Any]) -> None:
    """Store the gate's report on a candidate; one that did not pass is rejected. Raises WrongState for others."""
    _require(get_version(db, number), "candidate")
    state = "candidate" if passed else "rejected"
    db.execute(
        "UPDATE versions SET passed = ?, gate = ?, state = ? WHERE number = ?",
        [int(passed), json.dumps(gate), state, number],
    )
    if not passed:
        add_event(db, "version.rejected", {"version": number, "reasons": gate.get("reasons", [])})


def set_live(db: Database, number: int, reason: str) -> Version | None:
    """Make a version live, retire the former live version and any canary; return the former, None without change.

    Raises WrongState for a rejected version.
    """
    version, previous = get_version(db, number), live_version(db)
    if version.number == previous.number:
        return None
    _require(version, "candidate", "canary", "retired", "withdrawn")
    at = now()
    db.execute(
        "UPDATE versions SET state = 'retired', retired_at = ? WHERE number = ? OR state = 'canary'",
        [at, previous.number],
    )
    db.execute("UPDATE versions SET state = 'live', live_at = ?, retired_at = NULL WHERE number = ?", [at, number])
    db.table("traffic").insert({"live": number, "canary": None, "share": 0.0, "reason": reason, "created_at": at})
    add_event(db, "version.live", {"version": number, "previous": previous.number, "reason": reason})
    return previous


def roll_back(db: Database, to: int | None, reason: str) -> Version:
    """Make version `to` live and withdraw the live one; return the new live version.

    Without `to` it is the retired version that was live last. Raises WrongState when there is none.
    """
    present = live_version(db)
    if to is None:
        found = db.execute(
            "SELECT number FROM versions WHERE state = 'retired' ORDER BY live_at DESC LIMIT 1"
        ).fetchone()
        if found is None:
            raise WrongState(f"there is no earlier version to roll back to from version {present.number}")
        to = int(found[0])
    if to == present.number:
        raise WrongState(f"version {to} is live already")
    set_live(db, to, reason)
    db.execute("UPDATE versions SET state = 'withdrawn' WHERE number = ?", [present.number])
    add_event(db, "version.rolled_back", {"version": to, "previous": present.number, "reason": reason})
    return get_version(db, to)


def withdraw(db: Database, number: int, reason: str) -> None:
    """Withdraw a version. Raises WrongState for the live one: roll back first."""
    version = get_version(db, number)
    if version.state == "live":
        raise WrongState(f"version {number} is live; roll back before it is withdrawn")
    db.execute("UPDATE versions SET state = 'withdrawn', retired_at = ? WHERE number = ?", [now(), number])
    add_event(db, "version.withdrawn", {"version": number, "reason": reason})


def _require(version: Version, *states: str) -> None:
    if version.state not in states:
        raise WrongState(
            f"version {version.number} is {version.state}; only one that is {' or '.join(states)} can do that"
        )


def _version(row: dict[str, Any]) -> Version:
    passed = None if row["passed"] is None else bool(row["passed"])
    gate = json_of(row["gate"], {}) if row["gate"] else None
    return Version(**{**row, "passed": passed, "gate": gate, "metrics": json_of(row["metrics"], {})})
