"""Erasing a person: deletes their rows and withdraws every version that learned from them."""

import json
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from store.errors import UnknownRater
from store.ids import now
from store.traffic import current_traffic, end_canary
from store.versions import Version, live_version, set_live, versions, withdraw


@dataclass(frozen=True)
class Erased:
    """Numbers of deleted rows, the versions that had learned from them, and the `seq` of the first feedback, if any.

    Those versions are withdrawn; the caller removes their folders, and whatever else learned from that feedback.
    """

    rater_id: str
    feedback: int
    completions: int
    conversations: int
    versions: list[Version]
    first_seq: int | None = None


def erase_rater(db: Database, rater_id: str) -> Erased:
    """Delete a rater's conversations, completions, comparisons and feedback, and others' feedback on them.

    Versions that learned from any of it are withdrawn, with their descendants. The nearest clean ancestor becomes live,
    and the feedback since then is learned again. Raises UnknownRater. Call it in a transaction.
    """
    if not db.table("raters").count_where("id = ?", [rater_id]):
        raise UnknownRater(f"there is no rater {rater_id!r}")
    db.execute("PRAGMA secure_delete = ON")  # overwrite deleted rows
    db.execute(
        "CREATE TEMP TABLE gone AS SELECT id FROM feedback WHERE rater_id = :rater OR EXISTS ("
        + _ON_THEIR_COMPLETIONS
        + ")",
        {"rater": rater_id},
    )
    tainted = _tainted(db)
    _move_live(db, tainted)
    num_feedback, first_seq = db.execute(
        "SELECT count(*), min(f.seq) FROM gone JOIN feedback f ON f.id = gone.id"
    ).fetchone()
    for statement in _DELETIONS:
        db.execute(statement, {"rater": rater_id})
    num_completions = db.execute("DELETE FROM completions WHERE rater_id = ?", [rater_id]).rowcount
    num_conversations = db.execute("DELETE FROM conversations WHERE rater_id = ?", [rater_id]).rowcount
    db.execute("DROP TABLE gone")
    _remove_shares(db, rater_id)
    db.execute(
        "UPDATE api_keys SET name = '', revoked_at = coalesce(revoked_at, ?) WHERE rater_id = ?", [now(), rater_id]
    )
    if db.table("api_keys").count_where("rater_id = ?", [rater_id]):
        # the revoked key stays, and its rater's id is no name
        db.execute("UPDATE raters SET name = '' WHERE id = ?", [rater_id])
    else:
        db.execute("DELETE FROM raters WHERE id = ?", [rater_id])
    return Erased(rater_id, num_feedback, num_completions, num_conversations, tainted, first_seq)


_ON_THEIR_COMPLETIONS = (
    "SELECT 1 FROM completions c WHERE c.rater_id = :rater "
    "AND ((c.id = feedback.completion_id AND c.choice = feedback.choice) "
    "OR (c.id = feedback.other_completion_id AND c.choice = feedback.other_choice))"
)
_DELETIONS = (
    "DELETE FROM feedback_of_version WHERE feedback_id IN (SELECT id FROM gone)",
    "DELETE FROM events WHERE kind = 'feedback' AND json_extract(data, '$.feedback_id') IN (SELECT id FROM gone)",
    "DELETE FROM events WHERE kind = 'completion' "
    "AND json_extract(data, '$.completion_id') IN (SELECT id FROM completions WHERE rater_id = :rater)",
    "DELETE FROM feedback WHERE id IN (SELECT id FROM gone)",
    "DELETE FROM comparisons WHERE rater_id = :rater OR EXISTS "
    "(SELECT 1 FROM completions c WHERE c.rater_id = :rater AND c.id IN (a_completion_id, b_completion_id))",
)


def _remove_shares(db: Database, rater_id: str) -> None:
    """Remove the person from the records of runs: their share of an update and the trust in them."""
    for table, column in (("runs", "metrics"), ("versions", "metrics"), ("events", "data")):
        found = db.query(
            f"SELECT rowid AS row, {column} AS content FROM {table} WHERE instr({column}, ?) > 0",
            [json.dumps(rater_id)],
        )
        for row in list(found):
            content = json.dumps(_without_shares(json.loads(row["content"]), rater_id))
            db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", [content, row["row"]])


def _without_shares(record: dict[str, Any], rater_id: str) -> dict[str, Any]:
    kept = {
        name: _without_shares(value, rater_id) if isinstance(value, dict) else value for name, value in record.items()
    }
    if isinstance(raters := kept.get("raters"), dict):
        kept["raters"] = {name: share for name, share in raters.items() if name != rater_id}
    return kept


def _tainted(db: Database) -> list[Version]:
    """Return the versions that learned from the rows to delete, with their descendants, oldest first."""
    direct = {
        row["version"]
        for row in db.query(
            "SELECT DISTINCT version FROM feedback_of_version WHERE feedback_id IN (SELECT id FROM gone)"
        )
    }
    found: dict[int, Version] = {}
    for version in versions(db):  # parents come before their children
        if version.number in direct or version.parent in found:
            found[version.number] = version
    return list(found.values())


def _move_live(db: Database, tainted: list[Version]) -> None:
    """Make the nearest clean ancestor live and withdraw the tainted versions; a canary loses its share."""
    known, numbers = {version.number: version for version in versions(db)}, {version.number for version in tainted}
    live = live_version(db)
    heir = live
    while heir.number in numbers and heir.parent is not None:
        heir = known[heir.parent]
    if heir.number != live.number:
        set_live(db, heir.number, "a person whose feedback made the version before was erased")
    if any(version.state in ("candidate", "canary", "live") for version in tainted):
        db.execute("UPDATE learner_status SET attempted_seq = min(attempted_seq, ?)", [heir.watermark])
    canary = current_traffic(db).canary  # None once live moved
    for version in tainted:
        if version.state not in ("withdrawn", "rejected"):
            take_out = end_canary if version.number == canary else withdraw
            take_out(db, version.number, "it had learned from a person who was erased")
