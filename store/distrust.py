"""Raters whom the learner does not trust, and withdrawing what learned from them."""

from dataclasses import dataclass

from sqlite_utils import Database

from store.events import add_event
from store.lineage import heir_of, learned_from, take_out
from store.outcomes import gold_raters
from store.raters import Rater, get_rater, raters, set_quarantine
from store.versions import Version

DISTRUST = 0.5  # trust below this: the rater's feedback is more often wrong than right
GONE = ("withdrawn", "rejected")


@dataclass(frozen=True)
class Proposal:
    """To withdraw `versions`, which learned from a rater whose trust fell below DISTRUST; `heir` would be live then."""

    rater_id: str
    trust: float
    versions: list[int]
    heir: int


def proposals(db: Database) -> dict[str, Proposal]:
    """Return the proposals by rater id: of raters who are not trusted, and whose feedback is in versions still here."""
    gold = gold_raters(db)
    found = (_proposal(db, rater) for rater in raters(db) if is_distrusted(rater) and rater.id not in gold)
    return {proposal.rater_id: proposal for proposal in found if proposal is not None}


def is_distrusted(rater: Rater) -> bool:
    """Whether a rater's trust is below DISTRUST."""
    return rater.trust is not None and rater.trust < DISTRUST


def set_trust(db: Database, trust: dict[str, float]) -> None:
    """Store the learner's estimates of trust, each in 0..1; a rater who is distrusted from now on is an event."""
    before = {rater.id: rater for rater in raters(db)}
    for rater_id, value in trust.items():
        db.execute("UPDATE raters SET trust = ? WHERE id = ?", [value, rater_id])
    for rater_id, proposal in proposals(db).items():
        if rater_id in trust and not is_distrusted(before[rater_id]):
            data = {"rater": rater_id, "trust": proposal.trust, "versions": proposal.versions}
            add_event(db, "rater.distrusted", data)


def withdraw_learned(db: Database, rater_id: str, reason: str) -> tuple[list[Version], Version]:
    """Withdraw the versions that learned from a rater, and keep the rater's feedback out of learning.

    Return those versions and what is live then. Raises UnknownRater. Call it in a transaction.
    """
    get_rater(db, rater_id)
    leaving = [version for version in learned_from(db, rater_id) if version.state not in GONE]
    if get_rater(db, rater_id).quarantined_at is None:
        set_quarantine(db, rater_id, reason)
    why = f"it had learned from a rater who is not trusted: {reason}"
    live_reason = "the version before had learned from a rater who is not trusted"
    return leaving, take_out(db, leaving, live_reason=live_reason, reason=why)


def _proposal(db: Database, rater: Rater) -> Proposal | None:
    here = [version.number for version in learned_from(db, rater.id) if version.state not in GONE]
    if not here or rater.trust is None:
        return None
    return Proposal(rater.id, rater.trust, here, heir_of(db, here).number)
