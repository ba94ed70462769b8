"""Traffic: the live version and a canary with its share. Each change is a row."""

from dataclasses import dataclass

from sqlite_utils import Database

from store.errors import UnknownVersion, WrongState
from store.events import add_event
from store.ids import now
from store.versions import get_version, live_version, withdraw


@dataclass(frozen=True)
class Traffic:
    """The split in force: `share` (0..1) of conversations goes to `canary`, the rest to `live`."""

    live: int
    canary: int | None
    share: float
    reason: str
    created_at: str


def current_traffic(db: Database) -> Traffic:
    """Return the split in force. Raises UnknownVersion before the base version is there."""
    for row in db.query("SELECT live, canary, share, reason, created_at FROM traffic ORDER BY id DESC LIMIT 1"):
        return Traffic(**row)
    raise UnknownVersion("no version is live yet: the service has not started on this data folder")


def made_live(db: Database) -> Traffic:
    """Return the change that made the live version live. Raises UnknownVersion as `current_traffic` does."""
    live = current_traffic(db).live
    query = (
        "SELECT live, canary, share, reason, created_at FROM traffic "
        "WHERE id > (SELECT coalesce(max(id), 0) FROM traffic WHERE live != ?) ORDER BY id LIMIT 1"
    )
    return Traffic(**next(iter(db.query(query, [live]))))


def previous_live(db: Database, number: int) -> int | None:
    """Return the version that was live before `number` and may answer again, None without one."""
    query = (
        "SELECT t.live FROM traffic t JOIN versions v ON v.number = t.live "
        "WHERE t.live != :number AND v.state = 'retired' "
        "AND t.id < (SELECT min(id) FROM traffic WHERE live = :number) ORDER BY t.id DESC LIMIT 1"
    )
    for row in db.query(query, {"number": number}):
        return int(row["live"])
    return None


def set_canary(db: Database, number: int, share: float, reason: str) -> None:
    """Give a version a share of the traffic as canary.

    Raises WrongState for a share outside 0..1 or a version in another state than candidate, canary or retired.
    """
    version, live = get_version(db, number), live_version(db)
    if not 0.0 < share < 1.0:
        raise WrongState(f"a canary's share lies between 0 and 1, not {share}")
    if version.state not in ("candidate", "canary", "retired"):
        raise WrongState(f"version {number} is {version.state}; it cannot be a canary")
    at = now()
    db.execute(
        "UPDATE versions SET state = 'retired', retired_at = ? WHERE state = 'canary' AND number != ?", [at, number]
    )
    db.execute("UPDATE versions SET state = 'canary' WHERE number = ?", [number])
    db.table("traffic").insert(
        {"live": live.number, "canary": number, "share": share, "reason": reason, "created_at": at}
    )
    add_event(db, "version.canary", {"version": number, "share": share, "reason": reason})


def end_canary(db: Database, number: int, reason: str) -> None:
    """Withdraw a canary: live has all traffic again. Raises WrongState for a version that is no canary."""
    version, live = get_version(db, number), live_version(db)
    if version.state != "canary":
        raise WrongState(f"version {number} is {version.state}, not a canary")
    withdraw(db, number, reason)
    db.table("traffic").insert(
        {"live": live.number, "canary": None, "share": 0.0, "reason": reason, "created_at": now()}
    )
    add_event(db, "version.rolled_back", {"version": live.number, "previous": number, "reason": reason})
