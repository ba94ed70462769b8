"""Counts of each version: answers, thumbs, comparisons with other versions, and the win rate with its interval."""

import math
from collections import defaultdict
from dataclasses import dataclass

from sqlite_utils import Database


@dataclass
class Tally:
    """One version's counts. Only comparisons of two different versions are wins, losses and ties."""

    answers: int = 0
    up: int = 0
    down: int = 0
    wins: int = 0
    losses: int = 0
    ties: int = 0
    items: int = 0  # feedback that made this version

    @property
    def win_rate(self) -> float | None:
        """Wins plus half the ties, as a share of all comparisons; None without comparisons."""
        total = self.wins + self.losses + self.ties
        return (self.wins + self.ties / 2) / total if total else None

    @property
    def win_rate_interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval of the win rate (Wilson 1927)."""
        rate = self.win_rate
        return wilson_interval(rate, self.wins + self.losses + self.ties) if rate is not None else None


def wilson_interval(rate: float, total: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion `rate` in `total` > 0 trials (Wilson 1927)."""
    middle = (rate + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def tallies(db: Database) -> dict[int, Tally]:
    """Return each version's counts by version number."""
    found: dict[int, Tally] = defaultdict(Tally)
    for row in db.query(
        "SELECT version, count(*) AS n FROM completions "
        "WHERE version IS NOT NULL AND backend = 'local' GROUP BY version"
    ):
        found[row["version"]].answers = row["n"]
    for row in db.query("SELECT version, count(*) AS n FROM feedback_of_version GROUP BY version"):
        found[row["version"]].items = row["n"]
    for row in db.query(
        "SELECT c.version, sum(f.value = 1) AS up, sum(f.value = 0) AS down FROM feedback f "
        "JOIN completions c ON c.id = f.completion_id AND c.choice = f.choice "
        "WHERE f.kind = 'thumb' AND f.retracted_at IS NULL AND c.version IS NOT NULL AND c.backend = 'local' "
        "AND NOT EXISTS (SELECT 1 FROM feedback g WHERE g.seq > f.seq AND g.kind = 'thumb' AND g.retracted_at IS NULL "
        "AND g.rater_id = f.rater_id AND g.completion_id = f.completion_id AND g.choice = f.choice) "
        "GROUP BY c.version"
    ):
        found[row["version"]].up, found[row["version"]].down = row["up"], row["down"]
    for row in db.query(
        "SELECT a.version AS a, b.version AS b, f.winner FROM feedback f "
        "JOIN comparisons q ON q.id = f.comparison_id "
        "JOIN completions a ON a.id = q.a_completion_id AND a.choice = q.a_choice "
        "JOIN completions b ON b.id = q.b_completion_id AND b.choice = q.b_choice "
        "WHERE f.kind = 'choice' AND f.retracted_at IS NULL "
        "AND a.version IS NOT NULL AND b.version IS NOT NULL AND a.version != b.version "
        "AND NOT EXISTS (SELECT 1 FROM feedback g WHERE g.seq > f.seq AND g.kind = 'choice' AND g.retracted_at IS NULL "
        "AND g.rater_id = f.rater_id AND g.comparison_id = f.comparison_id)"
    ):
        _count_choice(found, row["a"], row["b"], row["winner"])
    return found


def _count_choice(found: dict[int, Tally], a: int, b: int, winner: str) -> None:
    if winner in ("A", "B"):
        won, lost = (a, b) if winner == "A" else (b, a)
        found[won].wins += 1
        found[lost].losses += 1
    else:
        found[a].ties += 1
        found[b].ties += 1
