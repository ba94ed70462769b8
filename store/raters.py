"""Raters: the people and programs that chat and give feedback. A request's API key identifies its rater."""

from dataclasses import asdict, dataclass

from sqlite_utils import Database

from store.errors import UnknownRater
from store.ids import now


@dataclass(frozen=True)
class Rater:
    """One rater. `trust` is the learner's estimate in 0..1, None before the first estimate."""

    id: str
    created_at: str
    name: str = ""
    trust: float | None = None
    quarantined_at: str | None = None
    quarantine_reason: str = ""


LOCAL_RATER = "local"  # the user of this machine, where no key was ever made


def can_be_rater(name: str) -> bool:
    """Return whether a rater may have this name: 1 to 128 printable characters without a slash, as paths hold it."""
    return 0 < len(name) <= 128 and name.isprintable() and "/" not in name and name == name.strip()


def ensure_rater(db: Database, rater_id: str, name: str = "") -> None:
    """Add the rater unless it exists."""
    db.table("raters").insert(asdict(Rater(id=rater_id, created_at=now(), name=name)), pk="id", ignore=True)


def raters(db: Database) -> list[Rater]:
    """Return all raters, oldest first."""
    return [Rater(**row) for row in db.query("SELECT * FROM raters ORDER BY created_at, id")]


def get_rater(db: Database, rater_id: str) -> Rater:
    """Return one rater. Raises UnknownRater."""
    for row in db.query("SELECT * FROM raters WHERE id = ?", [rater_id]):
        return Rater(**row)
    raise UnknownRater(f"there is no rater {rater_id!r}")


def set_quarantine(db: Database, rater_id: str, reason: str | None) -> None:
    """Exclude a rater's feedback from learning for `reason`, or include it again with None. Raises UnknownRater."""
    get_rater(db, rater_id)
    at = now() if reason is not None else None
    db.execute("UPDATE raters SET quarantined_at = ?, quarantine_reason = ? WHERE id = ?", [at, reason or "", rater_id])
