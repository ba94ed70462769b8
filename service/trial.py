"""Whether the version on trial does worse than the one before it in people's eyes: a test that may be looked at after
every word.

The version bets on each outcome x (1 better, 0 worse, 0.5 undecided) that it does worse; under "at least as good" the
bettor's wealth grows
past 1/alpha with a probability of at most alpha, however often one looks (Ville 1939; Waudby-Smith and Ramdas 2024).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlite_utils import Database

from service.settings import ServeSettings
from store.ids import now
from store.outcomes import last_feedback_seq, outcomes
from store.traffic import current_traffic, made_live, previous_live

STAKES = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.3)
PASSED = "passed the gate"  # the reasons under which traffic moved by itself: what an operator moved is theirs to judge
HELD = "its canary held"
BY_ITSELF = (PASSED, HELD)


@dataclass(frozen=True)
class Trial:
    """A version that traffic went to by itself, the one it is judged against, and since when (ISO time)."""

    number: int
    rival: int
    since: str
    is_canary: bool


@dataclass(frozen=True)
class Verdict:
    """What is to be done: `worse` takes the version back, `held` makes a canary live, `open` waits. `said` gives the
    numbers.
    """

    trial: Trial
    word: str
    said: str


def greatest_wealth(seen: Iterable[float]) -> float:
    """Return the largest wealth so far of the bet that outcomes (0..1) lie below one half on average; it starts at 1.
    """
    wealths, greatest = [1.0] * len(STAKES), 1.0
    for outcome in seen:
        wealths = [wealth * (1 + stake * (0.5 - outcome)) for wealth, stake in zip(wealths, STAKES, strict=True)]
        greatest = max(greatest, sum(wealths) / len(wealths))
    return greatest


def trial_under_way(db: Database) -> Trial | None:
    """Return the trial that traffic stands in now, None where the operator decided or there is nothing to compare with.
    """
    traffic = current_traffic(db)
    if traffic.canary is None:
        traffic = made_live(db)  # a canary that has ended since changes nothing about the live version's trial
    if traffic.reason not in BY_ITSELF:
        return None
    if traffic.canary is not None:
        return Trial(traffic.canary, traffic.live, traffic.created_at, True)
    rival = previous_live(db, traffic.live)
    return Trial(traffic.live, rival, traffic.created_at, False) if rival is not None else None


class Judge:
    """Says what people's words ask for. One caller at a time; what was counted is kept until something new is said."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._counted: tuple[Trial | None, int] = (None, -1)
        self._seen: list[float] = []

    def __call__(self, db: Database) -> Verdict | None:
        """Return what is to be done with the version on trial; None without a trial."""
        settings, trial = self._settings, trial_under_way(db)
        if trial is None:
            return None
        if (counted := (trial, last_feedback_seq(db))) != self._counted:
            self._counted, self._seen = counted, outcomes(db, trial.number, trial.rival, trial.since)
        seen = self._seen
        wealth, mean = greatest_wealth(seen), sum(seen) / len(seen) if seen else 0.5
        said = f"version {trial.number} against {trial.rival}: {len(seen)} judgements, {mean:.2f} in its favour"
        if settings.rollback_alpha and wealth >= 1 / settings.rollback_alpha:
            limit = 1 / settings.rollback_alpha
            return Verdict(
                trial,
                "worse",
                f"people prefer the version before ({said}; evidence {wealth:.0f}, at {limit:.0f} it is taken back)",
            )
        if trial.is_canary and len(seen) >= settings.canary_items and _seconds_since(trial.since) >= settings.canary_s:
            return Verdict(trial, "held", said)
        return Verdict(trial, "open", said)


def _seconds_since(at: str) -> float:
    return (datetime.fromisoformat(now()) - datetime.fromisoformat(at)).total_seconds()
