"""Feedback: people's ratings of completions. Rows are added and retracted, never changed.

Readers take each rater's last feedback on a completion.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils import Database

from store.errors import IdempotencyConflict, UnknownFeedback
from store.events import add_event
from store.ids import now
from store.json_columns import json_of

KINDS = ("thumb", "score", "correction", "preference", "choice", "regenerate")
# Whether rows f and g of one rater are about the same: of those the last one counts. Thumbs and scores are about a
# completion, and so are corrections. Choices and preferences are about a pair of completions, whichever comes first.
SAME_SUBJECT = """((g.completion_id = f.completion_id AND g.choice = f.choice AND (
        (f.kind IN ('thumb', 'score') AND g.kind IN ('thumb', 'score'))
        OR (f.kind IN ('regenerate', 'correction') AND g.kind = f.kind)
        OR (f.kind IN ('choice', 'preference') AND g.kind IN ('choice', 'preference')
            AND g.other_completion_id = f.other_completion_id AND g.other_choice = f.other_choice)))
    OR (f.kind IN ('choice', 'preference') AND g.kind IN ('choice', 'preference')
        AND g.completion_id = f.other_completion_id AND g.choice = f.other_choice
        AND g.other_completion_id = f.completion_id AND g.other_choice = f.choice))"""


@dataclass(frozen=True)
class Feedback:
    """One rater's feedback on one completion (`completion_id`, `choice`).

    `value`: thumb 1.0 up or 0.0 down, score 0..1. `text`: the correction. `other_*`: the worse completion of a
    preference, side B of a choice, or the new completion of `regenerate`. `winner` of a choice: A, B, tie or both_bad.
    The store assigns `seq`, the order of all feedback.
    """

    id: str
    kind: str
    rater_id: str
    completion_id: str
    choice: int
    created_at: str
    body_digest: str
    other_completion_id: str | None = None
    other_choice: int | None = None
    comparison_id: str | None = None
    value: float | None = None
    winner: str | None = None
    text: str | None = None
    reason: str | None = None
    comment: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    retracted_at: str | None = None
    retracted_by: str | None = None
    seq: int | None = None


def add_feedback(db: Database, feedback: Feedback) -> tuple[Feedback, bool]:
    """Append one row and its event; return it with False, or the earlier row of the same key and body with True.

    Its completions must exist; the caller checks that with `get_completion`. A retracted row frees its key. Raises
    IdempotencyConflict when the rater used this key with another body.
    """
    if feedback.idempotency_key is not None:
        for row in db.query(
            "SELECT * FROM feedback WHERE rater_id = ? AND idempotency_key = ? AND retracted_at IS NULL",
            [feedback.rater_id, feedback.idempotency_key],
        ):
            if row["body_digest"] != feedback.body_digest:
                raise IdempotencyConflict(
                    f"the Idempotency-Key {feedback.idempotency_key!r} was used with another body; use a new key"
                )
            return _feedback(row), True
    row = {name: getattr(feedback, name) for name in feedback.__dataclass_fields__ if name != "seq"}
    seq = db.table("feedback").insert({**row, "metadata": json.dumps(feedback.metadata, ensure_ascii=False)}).last_pk
    data = {
        "feedback_id": feedback.id,
        "kind": feedback.kind,
        "completion_id": feedback.completion_id,
        "rater": feedback.rater_id,
    }
    add_event(db, "feedback", data)
    return Feedback(**{**row, "seq": seq}), False


def get_feedback(db: Database, feedback_id: str, *, rater_id: str | None = None) -> Feedback:
    """Return one row, which may be retracted; with `rater_id` only if that rater gave it. Raises UnknownFeedback."""
    query = "SELECT * FROM feedback WHERE id = ? AND rater_id = coalesce(?, rater_id)"
    for row in db.query(query, [feedback_id, rater_id]):
        return _feedback(row)
    raise UnknownFeedback(f"there is no feedback {feedback_id!r}")


def find_given(db: Database, rater_id: str, idempotency_key: str) -> Feedback:
    """Return the row that a rater gave under a key and did not retract. Raises UnknownFeedback."""
    query = "SELECT * FROM feedback WHERE rater_id = ? AND idempotency_key = ? AND retracted_at IS NULL"
    for row in db.query(query, [rater_id, idempotency_key]):
        return _feedback(row)
    raise UnknownFeedback(f"there is no feedback {idempotency_key!r}")


def retract_feedback(db: Database, feedback_id: str, by: str) -> None:
    """Retract a row with all of its rater's that it replaced or that replaced it, so that none of them counts.

    They stay stored but are not learned from. For a retracted row nothing changes. Raises UnknownFeedback.
    """
    get_feedback(db, feedback_id)
    db.execute(
        "UPDATE feedback SET retracted_at = ?, retracted_by = ? WHERE retracted_at IS NULL AND seq IN ("
        "SELECT g.seq FROM feedback f JOIN feedback g ON g.rater_id = f.rater_id AND (g.id = f.id OR "
        f"{SAME_SUBJECT}) WHERE f.id = ? AND f.retracted_at IS NULL)",
        [now(), by, feedback_id],
    )


def list_feedback(
    db: Database,
    *,
    before_seq: int | None = None,
    limit: int = 50,
    completion_id: str | None = None,
    rater_id: str | None = None,
) -> list[Feedback]:
    """Return feedback, newest first; `before_seq` is the `seq` of the previous page's last row."""
    rows = db.query(
        "SELECT * FROM feedback WHERE (:before IS NULL OR seq < :before) "
        "AND (:completion IS NULL OR completion_id = :completion) AND (:rater IS NULL OR rater_id = :rater) "
        "ORDER BY seq DESC LIMIT :limit",
        {"before": before_seq, "completion": completion_id, "rater": rater_id, "limit": limit},
    )
    return [_feedback(row) for row in rows]


# The feedback that learning uses. It is not retracted, its rater is not in quarantine, and the completion's token ids
# are known. A rater's later feedback on the same subject replaces the earlier one. `regenerate` counts only without any
# other feedback of this rater on the first answer.
_STANDS = f"""
    FROM feedback f
    JOIN completions c ON c.id = f.completion_id AND c.choice = f.choice
    JOIN raters r ON r.id = f.rater_id
    WHERE f.retracted_at IS NULL AND r.quarantined_at IS NULL AND length(c.completion_ids) > 0
      AND NOT (f.kind = 'regenerate' AND EXISTS (
        SELECT 1 FROM feedback g
        WHERE g.kind != 'regenerate' AND g.rater_id = f.rater_id AND g.retracted_at IS NULL AND (
            (g.completion_id = f.completion_id AND g.choice = f.choice)
            OR (g.completion_id = f.other_completion_id AND g.other_completion_id = f.completion_id))))
      AND NOT EXISTS (
        SELECT 1 FROM feedback g WHERE g.seq > f.seq AND g.rater_id = f.rater_id AND g.retracted_at IS NULL
        AND {SAME_SUBJECT})
"""
_IS_TIE = " (f.kind = 'choice' AND f.winner = 'tie') "
# A tie and a score of 0.5 prefer nothing; the reward model alone learns from ties.
_COUNTS = _STANDS + f" AND NOT {_IS_TIE} AND NOT (f.kind = 'score' AND f.value = 0.5) "


def feedback_to_learn(db: Database, after_seq: int, upto_seq: int | None = None) -> list[Feedback]:
    """Return the feedback to learn from with `after_seq < seq <= upto_seq`, oldest first."""
    rows = db.query(
        f"SELECT f.* {_COUNTS} AND f.seq > :after AND (:upto IS NULL OR f.seq <= :upto) ORDER BY f.seq",
        {"after": after_seq, "upto": upto_seq},
    )
    return [_feedback(row) for row in rows]


def ties_to_learn(db: Database, upto_seq: int, limit: int) -> list[Feedback]:
    """Return the newest `limit` choices with `seq <= upto_seq` that are ties, oldest first."""
    query = f"SELECT f.* {_STANDS} AND {_IS_TIE} AND f.seq <= :upto ORDER BY f.seq DESC LIMIT :limit"
    return [_feedback(row) for row in db.query(query, {"upto": upto_seq, "limit": limit})][::-1]


def count_to_learn(db: Database, after_seq: int) -> tuple[int, str | None, int]:
    """Return (number of useful rows after `after_seq`, time of the first, seq of the last or `after_seq`).

    `regenerate` does not count: it is learned from with a small weight, and starts no update.
    """
    first_at = "min(CASE WHEN julianday(f.created_at) IS NOT NULL THEN f.created_at END)"  # not a damaged one
    query = (
        f"SELECT count(*), {first_at}, coalesce(max(f.seq), :after) {_COUNTS} "
        "AND f.kind != 'regenerate' AND f.seq > :after"
    )
    count, first_at, newest = db.execute(query, {"after": after_seq}).fetchone()
    return int(count), first_at, int(newest)


def is_all_there(db: Database, feedback_ids: Collection[str]) -> bool:
    """Whether the store still holds all these rows, also retracted ones: an erased person's are gone."""
    wanted = json.dumps(list(feedback_ids))
    found = db.execute("SELECT count(*) FROM feedback WHERE id IN (SELECT value FROM json_each(?))", [wanted])
    return int(found.fetchone()[0]) == len(feedback_ids)


def count_feedback(db: Database) -> int:
    """Return the number of rows, with retracted ones."""
    return db.table("feedback").count


def _feedback(row: dict[str, Any]) -> Feedback:
    return Feedback(**{**row, "metadata": json_of(row["metadata"], {})})
