"""Counts of each rater's feedback, and how often other raters of the same completion agree."""

from collections import defaultdict
from dataclasses import dataclass

from sqlite_utils import Database


@dataclass
class RaterTally:
    """One rater's counts. Agreement is over pairs of last thumbs, theirs and another rater's, on one completion."""

    answers: int = 0
    feedback: int = 0
    retracted: int = 0
    up: int = 0
    down: int = 0
    choices: int = 0
    agreed: int = 0
    compared: int = 0

    @property
    def agreement(self) -> float | None:
        """Share of others that agree, 0..1; None without another rater of the same completion."""
        return self.agreed / self.compared if self.compared else None


_LAST_THUMBS = """
    SELECT f.rater_id, f.completion_id, f.choice, f.value FROM feedback f
    WHERE f.kind = 'thumb' AND f.retracted_at IS NULL AND NOT EXISTS (
        SELECT 1 FROM feedback g
        WHERE g.seq > f.seq AND g.kind = 'thumb' AND g.retracted_at IS NULL AND g.rater_id = f.rater_id
        AND g.completion_id = f.completion_id AND g.choice = f.choice)
"""


def rater_tallies(db: Database) -> dict[str, RaterTally]:
    """Return each rater's counts by rater id."""
    found: dict[str, RaterTally] = defaultdict(RaterTally)
    for row in db.query("SELECT rater_id, count(*) AS n FROM completions GROUP BY rater_id"):
        found[row["rater_id"]].answers = row["n"]
    for row in db.query(
        "SELECT rater_id, count(*) AS n, sum(retracted_at IS NOT NULL) AS gone, sum(kind = 'choice') AS chosen "
        "FROM feedback GROUP BY rater_id"
    ):
        tally = found[row["rater_id"]]
        tally.feedback, tally.retracted, tally.choices = row["n"], row["gone"], row["chosen"]
    for row in db.query(
        f"SELECT rater_id, sum(value = 1) AS up, sum(value = 0) AS down FROM ({_LAST_THUMBS}) GROUP BY rater_id"
    ):
        found[row["rater_id"]].up, found[row["rater_id"]].down = row["up"], row["down"]
    for row in db.query(
        f"WITH thumbs AS ({_LAST_THUMBS}) "
        "SELECT a.rater_id, count(*) AS n, sum(a.value = b.value) AS same FROM thumbs a "
        "JOIN thumbs b ON b.completion_id = a.completion_id AND b.choice = a.choice AND b.rater_id != a.rater_id "
        "GROUP BY a.rater_id"
    ):
        found[row["rater_id"]].compared, found[row["rater_id"]].agreed = row["n"], row["same"]
    return found
