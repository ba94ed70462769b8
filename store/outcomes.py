"""Feedback on two versions as a sequence of outcomes: which of the two people preferred, in the order of time."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlite_utils import Database

from store.feedback import SAME_SUBJECT
from store.raters import LOCAL_RATER

FEW_RATERS = 3  # with fewer, each decides alone: between two who disagree, nothing decides
# Answers of a version that somebody asked for by name do not count: who picks both answers picks the result. Those of
# a comparison that this service put together do.
_UNPINNED = """({0}.asked_model = 'attune' OR EXISTS (
    SELECT 1 FROM comparisons q WHERE q.reason != 'named' AND (
        (q.a_completion_id = {0}.id AND q.a_choice = {0}.choice)
        OR (q.b_completion_id = {0}.id AND q.b_choice = {0}.choice))))"""
_COUNTS = f"f.retracted_at IS NULL AND r.quarantined_at IS NULL AND c.backend = 'local' AND {_UNPINNED.format('c')}"
_IS_LAST = f"""NOT EXISTS (
    SELECT 1 FROM feedback g
    WHERE g.seq > f.seq AND g.rater_id = f.rater_id AND g.retracted_at IS NULL AND {SAME_SUBJECT})"""
# each rater's last feedback on a completion, or on a pair of completions
_THUMBS = f"""
    SELECT f.rater_id AS rater, f.created_at AS at, f.value AS value
    FROM feedback f
    JOIN completions c ON c.id = f.completion_id AND c.choice = f.choice
    JOIN raters r ON r.id = f.rater_id
    WHERE f.kind IN ('thumb', 'score') AND c.version = ? AND {_COUNTS} AND {_IS_LAST}
    ORDER BY f.seq
"""
_PAIRS = f"""
    SELECT f.rater_id AS rater, f.created_at AS at, f.kind AS kind, f.winner AS winner, c.version AS a, d.version AS b
    FROM feedback f
    JOIN completions c ON c.id = f.completion_id AND c.choice = f.choice
    JOIN completions d ON d.id = f.other_completion_id AND d.choice = f.other_choice
    JOIN raters r ON r.id = f.rater_id
    WHERE f.kind IN ('choice', 'preference') AND d.backend = 'local' AND {_COUNTS} AND {_UNPINNED.format("d")}
      AND ((c.version = :one AND d.version = :two) OR (c.version = :two AND d.version = :one)) AND {_IS_LAST}
    ORDER BY f.seq
"""
_RATERS = """
    SELECT count(*) FROM (
        SELECT 1 FROM raters r WHERE r.quarantined_at IS NULL AND EXISTS (
            SELECT 1 FROM feedback f JOIN completions c ON c.id = f.completion_id AND c.choice = f.choice
            WHERE f.rater_id = r.id AND f.retracted_at IS NULL AND f.kind != 'regenerate' AND c.backend = 'local')
        LIMIT ?)
"""


@dataclass(frozen=True)
class _Outcome:
    rater: str
    at: str
    value: float


@dataclass(frozen=True)
class Evidence:
    """What people's feedback says of a version against another.

    `outcomes` in 0..1, oldest first: 1 where people preferred the version, 0.5 for a tie. `against` are the raters who
    prefer the other on average, and `needed` is how many of them it takes to take the version back.
    """

    outcomes: list[float]
    against: frozenset[str]
    needed: int

    @property
    def is_of_enough(self) -> bool:
        """Whether enough raters are against the version to take it back."""
        return len(self.against) >= self.needed


def outcomes(db: Database, number: int, rival: int, since: str) -> Evidence:
    """Return the evidence on version `number` against `rival`; each rater has one vote on an answer or a pair.

    A choice between the two is one outcome. Thumbs are compared in pairs: the first on `number` with the first on
    `rival` after `since` (ISO time), and so on. If `rival` has too few, its latest thumbs before `since` follow. Where
    three or more people rate, each has one outcome a day, the mean of theirs, and at least two must be against a
    version to take it back, so that nobody decides alone. The owner does: with fewer raters everybody, without keys the
    user of this machine.
    """
    pairs = [
        _Outcome(row["rater"], row["at"], _preferred(row, number))
        for row in db.query(_PAIRS, {"one": number, "two": rival})
    ]
    ours = [_Outcome(row["rater"], row["at"], row["value"]) for row in db.query(_THUMBS, [number])]
    theirs = [_Outcome(row["rater"], row["at"], row["value"]) for row in db.query(_THUMBS, [rival])]
    is_crowd = int(db.execute(_RATERS, [FEW_RATERS]).fetchone()[0]) >= FEW_RATERS
    everybody = {outcome.rater for outcome in (*pairs, *ours, *theirs)}
    gold = gold_raters(db) if is_crowd else everybody
    after = [outcome for outcome in theirs if outcome.at >= since]
    before = [outcome for outcome in theirs if outcome.at < since][::-1]
    beside = [*_by_day(after, gold), *_by_day(before, gold)]
    thumbs = [
        _Outcome(mine.rater, mine.at, 0.5 + (mine.value - other.value) / 2)
        for mine, other in zip(_by_day(ours, gold), beside, strict=False)
    ]
    found = sorted((*_by_day(pairs, gold), *thumbs), key=lambda outcome: outcome.at)
    against = _against(found)
    return Evidence([outcome.value for outcome in found], against, 1 if against & gold or not is_crowd else 2)


def gold_raters(db: Database) -> set[str]:
    """Return the raters who are the owner: without keys, the user of this machine."""
    return set() if db.table("api_keys").count else {LOCAL_RATER}


def _against(found: Iterable[_Outcome]) -> frozenset[str]:
    """Return the raters whose outcomes are below one half on average."""
    by_rater: dict[str, list[float]] = {}
    for outcome in found:
        by_rater.setdefault(outcome.rater, []).append(outcome.value)
    return frozenset(rater for rater, values in by_rater.items() if sum(values) < len(values) / 2)


def last_feedback_seq(db: Database) -> int:
    """Return the newest feedback's seq, 0 without feedback."""
    return int(db.execute("SELECT coalesce(max(seq), 0) FROM feedback").fetchone()[0])


def _preferred(row: dict[str, object], number: int) -> float:
    if row["kind"] == "preference":
        return float(row["a"] == number)
    if row["winner"] not in ("A", "B"):
        return 0.5
    return float((row["a"] if row["winner"] == "A" else row["b"]) == number)


def _by_day(several: Iterable[_Outcome], gold: Collection[str]) -> list[_Outcome]:
    """Return one mean for each rater and day, at the time of the first; those of gold raters unchanged."""
    days: dict[tuple[str, ...], list[_Outcome]] = {}
    for index, outcome in enumerate(several):
        alone = (str(index),) if outcome.rater in gold else ()
        days.setdefault((outcome.rater, outcome.at[:10], *alone), []).append(outcome)
    return [
        _Outcome(group[0].rater, group[0].at, sum(outcome.value for outcome in group) / len(group))
        for group in days.values()
    ]
