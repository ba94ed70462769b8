"""Feedback on two versions as a sequence of outcomes: which of the two people preferred, in the order of time."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlite_utils import Database

_COUNTS = "f.retracted_at IS NULL AND r.quarantined_at IS NULL AND c.backend = 'local'"
# each rater's last feedback on a completion, or on a pair of completions
_THUMBS = f"""
    SELECT f.rater_id AS rater, f.created_at AS at, f.value AS value
    FROM feedback f
    JOIN completions c ON c.id = f.completion_id AND c.choice = f.choice
    JOIN raters r ON r.id = f.rater_id
    WHERE f.kind IN ('thumb', 'score') AND c.version = ? AND {_COUNTS}
      AND NOT EXISTS (
        SELECT 1 FROM feedback g WHERE g.seq > f.seq AND g.kind IN ('thumb', 'score') AND g.retracted_at IS NULL
        AND g.rater_id = f.rater_id AND g.completion_id = f.completion_id AND g.choice = f.choice)
    ORDER BY f.seq
"""
_PAIRS = f"""
    SELECT f.rater_id AS rater, f.created_at AS at, f.kind AS kind, f.winner AS winner, c.version AS a, d.version AS b
    FROM feedback f
    JOIN completions c ON c.id = f.completion_id AND c.choice = f.choice
    JOIN completions d ON d.id = f.other_completion_id AND d.choice = f.other_choice
    JOIN raters r ON r.id = f.rater_id
    WHERE f.kind IN ('choice', 'preference') AND d.backend = 'local' AND {_COUNTS}
      AND ((c.version = :one AND d.version = :two) OR (c.version = :two AND d.version = :one))
      AND NOT EXISTS (
        SELECT 1 FROM feedback g
        WHERE g.seq > f.seq AND g.kind = 'choice' AND f.kind = 'choice' AND g.retracted_at IS NULL
        AND g.rater_id = f.rater_id AND g.comparison_id = f.comparison_id)
    ORDER BY f.seq
"""


@dataclass(frozen=True)
class _Outcome:
    rater: str
    at: str
    value: float


def outcomes(db: Database, number: int, rival: int, since: str) -> list[float]:
    """Return outcomes in 0..1, oldest first: 1 where people preferred version `number` to `rival`, 0.5 for a tie.

    A choice between the two is one outcome. Thumbs are compared in pairs: the first on `number` with the first on
    `rival` after `since` (ISO time), and so on. If `rival` has too few, its latest thumbs before `since` follow. With
    several raters, each has one outcome a day, the mean of theirs, so that nobody decides alone.
    """
    pairs = [
        _Outcome(row["rater"], row["at"], _preferred(row, number))
        for row in db.query(_PAIRS, {"one": number, "two": rival})
    ]
    ours = [_Outcome(row["rater"], row["at"], row["value"]) for row in db.query(_THUMBS, [number])]
    theirs = [_Outcome(row["rater"], row["at"], row["value"]) for row in db.query(_THUMBS, [rival])]
    is_crowd = len({outcome.rater for outcome in (*pairs, *ours)}) > 1
    after = [outcome for outcome in theirs if outcome.at >= since]
    before = [outcome for outcome in theirs if outcome.at < since][::-1]
    beside = [*_by_day(after, is_crowd), *_by_day(before, is_crowd)]
    thumbs = [
        _Outcome(mine.rater, mine.at, 0.5 + (mine.value - other.value) / 2)
        for mine, other in zip(_by_day(ours, is_crowd), beside, strict=False)
    ]
    return [outcome.value for outcome in sorted((*_by_day(pairs, is_crowd), *thumbs), key=lambda outcome: outcome.at)]


def last_feedback_seq(db: Database) -> int:
    """Return the newest feedback's seq, 0 without feedback."""
    return int(db.execute("SELECT coalesce(max(seq), 0) FROM feedback").fetchone()[0])


def _preferred(row: dict[str, object], number: int) -> float:
    if row["kind"] == "preference":
        return float(row["a"] == number)
    if row["winner"] not in ("A", "B"):
        return 0.5
    return float((row["a"] if row["winner"] == "A" else row["b"]) == number)


def _by_day(several: Iterable[_Outcome], is_crowd: bool) -> list[_Outcome]:
    """Return one mean for each rater and day, at the time of the first; with a single rater, all unchanged."""
    if not is_crowd:
        return list(several)
    days: dict[tuple[str, str], list[_Outcome]] = {}
    for outcome in several:
        days.setdefault((outcome.rater, outcome.at[:10]), []).append(outcome)
    return [
        _Outcome(rater, group[0].at, sum(outcome.value for outcome in group) / len(group))
        for (rater, _), group in days.items()
    ]
