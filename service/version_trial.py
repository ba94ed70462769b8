"""Does people's feedback show that a new version is worse than the one before it? A sequential test by betting.

A version is on trial while it is a canary, and after it went live by itself. Each outcome x is 1 (better), 0 (worse) or
0.5 (undecided). A bettor stakes on "worse". If the version is at least as good, the bettor's wealth passes 1/alpha with
a probability of at most alpha, however often one looks. Sources: Ville 1939; Waudby-Smith and Ramdas 2024.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlite_utils import Database

from service.settings import CanarySettings
from store.ids import now
from store.outcomes import Evidence, last_feedback_seq, outcomes
from store.traffic import current_traffic, made_live, previous_live

STAKES = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.3)
# the reasons under which traffic moves by itself; a version that an operator made live is not on trial
PASSED = "passed the gate"
HELD = "its canary held"
AUTOMATIC = (PASSED, HELD)


@dataclass(frozen=True)
class Trial:
    """A version that traffic moved to by itself, the version that it is compared with, and since when (ISO time)."""

    number: int
    rival: int
    since: str
    is_canary: bool


@dataclass(frozen=True)
class Verdict:
    """What to do: `worse` takes the version back, `held` makes a canary live, `open` waits. `summary` gives numbers."""

    trial: Trial
    decision: Literal["worse", "held", "open"]
    summary: str


def greatest_wealth(outcomes: Iterable[float]) -> float:
    """Return the largest wealth so far of a bet that outcomes (0..1) are below one half on average; it starts at 1."""
    wealths, greatest = [1.0] * len(STAKES), 1.0
    for outcome in outcomes:
        wealths = [wealth * (1 + stake * (0.5 - outcome)) for wealth, stake in zip(wealths, STAKES, strict=True)]
        greatest = max(greatest, sum(wealths) / len(wealths))
    return greatest


def trial_under_way(db: Database) -> Trial | None:
    """Return the trial under way, None where an operator moved traffic or there is no version to compare with."""
    traffic = current_traffic(db)
    if traffic.canary is None:
        traffic = made_live(db)  # a canary that has ended since does not end the live version's trial
    if traffic.reason not in AUTOMATIC:
        return None
    if traffic.canary is not None:
        return Trial(traffic.canary, traffic.live, traffic.created_at, True)
    rival = previous_live(db, traffic.live)
    return Trial(traffic.live, rival, traffic.created_at, False) if rival is not None else None


class TrialMonitor:
    """Gives the verdict on the trial under way. One caller at a time; outcomes are cached until new feedback comes."""

    def __init__(self, settings: CanarySettings) -> None:
        self._settings = settings
        self._cache_key: tuple[Trial | None, int] = (None, -1)
        self._evidence = Evidence([], frozenset(), 1)

    def verdict(self, db: Database) -> Verdict | None:
        """Return what to do with the version on trial; None without a trial."""
        settings, trial = self._settings, trial_under_way(db)
        if trial is None:
            return None
        if (cache_key := (trial, last_feedback_seq(db))) != self._cache_key:
            self._cache_key, self._evidence = cache_key, outcomes(db, trial.number, trial.rival, trial.since)
        seen = self._evidence.outcomes
        wealth, mean = greatest_wealth(seen), sum(seen) / len(seen) if seen else 0.5
        summary = f"version {trial.number} against {trial.rival}: {len(seen)} outcomes, {mean:.2f} in its favor"
        is_certain = bool(settings.rollback_alpha) and wealth >= 1 / settings.rollback_alpha
        if is_certain and self._evidence.is_of_enough:
            limit = 1 / settings.rollback_alpha
            evidence = f"evidence {wealth:.0f}, at {limit:.0f} it is taken back"
            return Verdict(trial, "worse", f"people prefer the version before ({summary}; {evidence})")
        if trial.is_canary and len(seen) >= settings.feedback and _seconds_since(trial.since) >= settings.seconds:
            return Verdict(trial, "held", summary)
        return Verdict(trial, "open", summary)


def _seconds_since(at: str) -> float:
    return (datetime.fromisoformat(now()) - datetime.fromisoformat(at)).total_seconds()
