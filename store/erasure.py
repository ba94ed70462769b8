"""Erasing a person: deletes their rows and withdraws every version that learned from them."""

from dataclasses import dataclass

from sqlite_utils import Database

from store.errors import UnknownRater
from store.ids import now
from store.lineage import take_out, with_descendants
from store.scrubbing import remove_person
from store.versions import Version


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
    and the feedback since then is learned again. The person's id goes from what stays. Raises UnknownRater. Call it in
    a transaction, and `rewrite` the database after it: deleted rows linger in its files.
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
    gone = db.query("SELECT DISTINCT version FROM feedback_of_version WHERE feedback_id IN (SELECT id FROM gone)")
    tainted = with_descendants(db, {row["version"] for row in gone})
    take_out(
        db,
        tainted,
        live_reason="a person whose feedback made the version before was erased",
        reason="it had learned from a person who was erased",
    )
    num_feedback, first_seq = db.execute(
        "SELECT count(*), min(f.seq) FROM gone JOIN feedback f ON f.id = gone.id"
    ).fetchone()
    for statement in _DELETIONS:
        db.execute(statement, {"rater": rater_id})
    num_completions = db.execute("DELETE FROM completions WHERE rater_id = ?", [rater_id]).rowcount
    num_conversations = db.execute("DELETE FROM conversations WHERE rater_id = ?", [rater_id]).rowcount
    db.execute("DROP TABLE gone")
    remove_person(db, rater_id)
    db.execute(
        "UPDATE api_keys SET name = '', revoked_at = coalesce(revoked_at, ?) WHERE rater_id = ?", [now(), rater_id]
    )
    if db.table("api_keys").count_where("rater_id = ?", [rater_id]):
        # the revoked key stays, and its rater's id is no name
        db.execute("UPDATE raters SET name = '', quarantine_reason = '' WHERE id = ?", [rater_id])
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
    "DELETE FROM events WHERE kind = 'rater.distrusted' AND json_extract(data, '$.rater') = :rater",
    "DELETE FROM feedback WHERE id IN (SELECT id FROM gone)",
    "DELETE FROM comparisons WHERE rater_id = :rater OR EXISTS "
    "(SELECT 1 FROM completions c WHERE c.rater_id = :rater AND c.id IN (a_completion_id, b_completion_id))",
)
