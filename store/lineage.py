"""Versions that learned from somebody, with their descendants, and taking them out at once."""

from collections.abc import Collection, Iterable, Sequence

from sqlite_utils import Database

from store.traffic import current_traffic, end_canary
from store.versions import Version, live_version, set_live, versions, withdraw


def learned_from(db: Database, rater_id: str) -> list[Version]:
    """Return the versions that learned from a rater's feedback, with their descendants, oldest first."""
    rows = db.query(
        "SELECT DISTINCT v.version FROM feedback f JOIN feedback_of_version v ON v.feedback_id = f.id "
        "WHERE f.rater_id = ?",
        [rater_id],
    )
    return with_descendants(db, {row["version"] for row in rows})


def with_descendants(db: Database, numbers: Collection[int]) -> list[Version]:
    """Return these versions and all that were made from them, oldest first."""
    found: dict[int, Version] = {}
    for version in versions(db):  # parents come before their children
        if version.number in numbers or version.parent in found:
            found[version.number] = version
    return list(found.values())


def heir_of(db: Database, leaving: Iterable[int]) -> Version:
    """Return the version that is live once these are taken out: live itself, or its nearest ancestor that stays."""
    known, gone = {version.number: version for version in versions(db)}, set(leaving)
    heir = live_version(db)
    while heir.number in gone and heir.parent is not None:
        heir = known[heir.parent]
    return heir


def take_out(db: Database, leaving: Sequence[Version], *, live_reason: str, reason: str) -> Version:
    """Withdraw versions; the nearest ancestor that stays becomes live, a canary loses its share. Return what is live.

    The feedback since then is learned again. Call it in a transaction.
    """
    heir, live = heir_of(db, [version.number for version in leaving]), live_version(db)
    if heir.number != live.number:
        set_live(db, heir.number, live_reason)
    if any(version.state in ("candidate", "canary", "live") for version in leaving):
        db.execute("UPDATE learner_status SET attempted_seq = min(attempted_seq, ?)", [heir.watermark])
    canary = current_traffic(db).canary  # None once live moved
    for version in leaving:
        if version.state not in ("withdrawn", "rejected"):
            end = end_canary if version.number == canary else withdraw
            end(db, version.number, reason)
    return heir
