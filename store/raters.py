"""Raters: whoever speaks. Identity comes from the API key alone (or from a key that may act for others)."""

from dataclasses import asdict, dataclass

from sqlite_utils import Database

from store.errors import UnknownRater
from store.ids import now


@dataclass(frozen=True)
class Rater:
    """One person or program that gives feedback. `trust` is the learner's estimate in 0..1, None before there is one.
    """

    id: str
    created_at: str
    name: str = ""
    trust: float | None = None
    quarantined_at: str | None = None
    quarantine_reason: str = ""


def can_be_rater(name: str) -> bool:
    """Whether somebody may speak under this name: 1 to 128 printable characters, none of them a slash, so that an
    address can hold it.
    """
    return 0 < len(name) <= 128 and name.isprintable() and "/" not in name and name == name.strip()


def ensure_rater(db: Database, rater_id: str, name: str = "") -> None:
    """Add the rater unless known."""
    db.table("raters").insert(asdict(Rater(id=rater_id, created_at=now(), name=name)), pk="id", ignore=True)


def raters(db: Database) -> list[Rater]:
    """Return all raters, oldest first."""
    return [Rater(**row) for row in db.query("SELECT * FROM raters ORDER BY created_at, id")]


def set_quarantine(db: Database, rater_id: str, reason: str | None) -> None:
    """Keep a rater's feedback out of learning for `reason`, or let it in again with None. Raises UnknownRater."""
    if not db.table("raters").count_where("id = ?", [rater_id]):
        raise UnknownRater(f"there is no rater {rater_id!r}")
    at = now() if reason is not None else None
    db.execute("UPDATE raters SET quarantined_at = ?, quarantine_reason = ? WHERE id = ?", [at, reason or "", rater_id])


def set_trust(db: Database, trust: dict[str, float]) -> None:
    """Record the learner's estimates, each in 0..1."""
    for rater_id, value in trust.items():
        db.execute("UPDATE raters SET trust = ? WHERE id = ?", [value, rater_id])
