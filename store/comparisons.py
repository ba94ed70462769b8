"""Comparisons: two answers to one prompt, shown side by side without their versions."""

from dataclasses import asdict, dataclass

from sqlite_utils import Database

from store.errors import UnknownComparison


@dataclass(frozen=True)
class Comparison:
    """One comparison. A and B are the sides as shown; `propensity` is the probability of this pair on these sides.

    `reason` is why these two versions were compared.
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
    """Append one comparison; both completions must exist."""
    db.table("comparisons").insert(asdict(comparison))


def get_comparison(db: Database, comparison_id: str, *, rater_id: str | None = None) -> Comparison:
    """Return one comparison, with `rater_id` only if that rater asked for it. Raises UnknownComparison otherwise."""
    query = "SELECT * FROM comparisons WHERE id = ? AND rater_id = coalesce(?, rater_id)"
    for row in db.query(query, [comparison_id, rater_id]):
        return Comparison(**row)
    raise UnknownComparison(f"there is no comparison {comparison_id!r}")
