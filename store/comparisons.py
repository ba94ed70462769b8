"""Comparisons: two replies to one prompt, shown blind side by side, and why these two."""

from dataclasses import asdict, dataclass

from sqlite_utils import Database

from store.errors import UnknownComparison


@dataclass(frozen=True)
class Comparison:
    """A side-by-side question. A and B are the sides as shown; `propensity` is the probability of this pair on these
    sides.
    """

    id: str
    rater_id: str
    conversation_id: str | None
    a_completion_id: str
    a_choice: int
    b_completion_id: str
    b_choice: int
    reason: str
    propensity: float
    created_at: str


def add_comparison(db: Database, comparison: Comparison) -> None:
    """Append one question; both replies must be there."""
    db.table("comparisons").insert(asdict(comparison))


def get_comparison(db: Database, comparison_id: str) -> Comparison:
    """Return one question. Raises UnknownComparison."""
    for row in db.query("SELECT * FROM comparisons WHERE id = ?", [comparison_id]):
        return Comparison(**row)
    raise UnknownComparison(f"there is no comparison {comparison_id!r}")
