"""Populations of simulated users. Each has a taste, a temper and a random generator of its own."""

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from clients.simulated.errors import SimulatedError
from clients.simulated.questions import Question
from clients.simulated.tastes import Taste, tastes_of

Temper = Literal["steady", "noisy", "lazy", "contrarian"]
SLIPS = 0.25  # how often a noisy user gives the opposite feedback
SAME = 1e-9  # a smaller difference in taste is a tie
MEMORY = 24  # number of answers in a user's running mean


@dataclass
class User:
    """One simulated person.

    Steady users follow their taste and noisy ones slip. Lazy users choose A and give thumbs up. Contrarians give the
    opposite of their taste.
    """

    name: str
    taste: Taste
    temper: Temper
    rng: random.Random
    seen: deque[float] = field(default_factory=lambda: deque(maxlen=MEMORY))

    def choose(self, question: Question, a: str, b: str) -> Literal["A", "B", "tie"]:
        """Return the user's choice between two answers."""
        first, second = self.taste.of(question, a), self.taste.of(question, b)
        self.seen += [first, second]
        if self.temper == "lazy":
            return "A"
        if abs(first - second) < SAME:
            return "tie"
        return "A" if (first > second) != self._is_opposite() else "B"

    def thumb(self, question: Question, answer: str) -> Literal["up", "down"] | None:
        """Return up for an answer better than the user's running mean, down for a worse one, None for neither."""
        value = self.taste.of(question, answer)
        usual = sum(self.seen) / len(self.seen) if self.seen else value
        self.seen.append(value)
        if self.temper == "lazy":
            return "up"
        if abs(value - usual) < SAME:
            return None
        return "up" if (value > usual) != self._is_opposite() else "down"

    def correction(self, question: Question, answer: str) -> str | None:
        """Return a right answer that the user likes better, None without one or for a lazy or contrarian user."""
        if self.temper in ("lazy", "contrarian"):
            return None
        better = question.good_answer(self.taste.main, self.rng)
        is_better = question.is_right(better) and self.taste.of(question, better) > self.taste.of(question, answer)
        return better if is_better else None

    def _is_opposite(self) -> bool:
        return self.temper == "contrarian" or (self.temper == "noisy" and self.rng.random() < SLIPS)


@dataclass(frozen=True)
class Population:
    """The users, and the tastes that a model is measured by: those of steady users."""

    users: tuple[User, ...]
    tastes: tuple[Taste, ...]

    def like(self, question: Question, answer: str) -> list[float]:
        """Return each taste's value of an answer."""
        return [taste.of(question, answer) for taste in self.tastes]


def population(
    tastes: str, count: int, seed: int, *, noisy: float = 0.0, lazy: float = 0.0, contrarian: float = 0.0
) -> Population:
    """Return `count` users, who take the `tastes` in turn.

    `noisy`, `lazy` and `contrarian` are shares of the users (0..1), rounded to whole users; the rest is steady. Raises
    UnknownTaste, and SimulatedError for shares that do not fit.
    """
    kinds = tastes_of(tastes)
    shares: dict[Temper, float] = {"noisy": noisy, "lazy": lazy, "contrarian": contrarian}
    if count < 1 or any(not 0 <= share <= 1 for share in shares.values()) or sum(shares.values()) > 1:
        parts = ", ".join(f"{share:.0%} {temper}" for temper, share in shares.items())
        raise SimulatedError(f"{count} users with {parts} make no population; the shares must be 0..1 and sum to 1")
    tempers: list[Temper] = [temper for temper, share in shares.items() for _ in range(round(share * count))]
    tempers = (tempers + ["steady"] * count)[:count]
    random.Random(f"tempers {seed}").shuffle(tempers)
    users = [
        User(f"sim-{seed}-{number}", kinds[number % len(kinds)], temper, random.Random(f"user {seed} {number}"))
        for number, temper in enumerate(tempers)
    ]
    return Population(tuple(users), kinds)
