"""Populations of simulated users. Each has a taste and a temper, and decides by a random generator of their own."""

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from clients.simulated.errors import SimulatedError
from clients.simulated.questions import Question
from clients.simulated.tastes import Taste, tastes_of

Temper = Literal["steady", "noisy", "lazy", "contrarian"]
SLIPS = 0.25  # how often a noisy user says the opposite of what they mean
SAME = 1e-9  # tastes nearer than this are a tie
MEMORY = 24  # how many answers a user remembers, to know what is usual


@dataclass
class User:
    """One person. Steady ones say what they like, noisy ones slip, lazy ones take the first and praise all, contrarians
    say the opposite.
    """

    name: str
    taste: Taste
    temper: Temper
    rng: random.Random
    seen: deque[float] = field(default_factory=lambda: deque(maxlen=MEMORY))

    def choose(self, question: Question, a: str, b: str) -> Literal["A", "B", "tie"]:
        """Which of two answers they say is better."""
        first, second = self.taste.of(question, a), self.taste.of(question, b)
        self.seen += [first, second]
        if self.temper == "lazy":
            return "A"
        if abs(first - second) < SAME:
            return "tie"
        return "A" if (first > second) != self._says_the_opposite() else "B"

    def thumb(self, question: Question, answer: str) -> Literal["up", "down"] | None:
        """Up for better than they are used to, down for worse, None for neither."""
        value = self.taste.of(question, answer)
        usual = sum(self.seen) / len(self.seen) if self.seen else value
        self.seen.append(value)
        if self.temper == "lazy":
            return "up"
        if abs(value - usual) < SAME:
            return None
        return "up" if (value > usual) != self._says_the_opposite() else "down"

    def correction(self, question: Question, answer: str) -> str | None:
        """What the answer should have been, when they care to write it, know it, and like it better than what was said."""
        if self.temper in ("lazy", "contrarian"):
            return None
        better = question.good_answer(self.taste.main, self.rng)
        is_better = question.is_right(better) and self.taste.of(question, better) > self.taste.of(question, answer)
        return better if is_better else None

    def _says_the_opposite(self) -> bool:
        return self.temper == "contrarian" or (self.temper == "noisy" and self.rng.random() < SLIPS)


@dataclass(frozen=True)
class Population:
    """Users, and the tastes by which a model is judged: those of people who mean what they say."""

    users: tuple[User, ...]
    tastes: tuple[Taste, ...]

    def like(self, question: Question, answer: str) -> list[float]:
        """How well each taste likes an answer."""
        return [taste.of(question, answer) for taste in self.tastes]


def population(
    tastes: str, count: int, seed: int, *, noisy: float = 0.0, lazy: float = 0.0, contrarian: float = 0.0
) -> Population:
    """Return `count` users, each with one of `tastes` in turn; the shares of tempers (0..1) are rounded, and the rest
    is steady.

    Raises UnknownTaste, and SimulatedError for shares that do not fit.
    """
    kinds = tastes_of(tastes)
    shares: dict[Temper, float] = {"noisy": noisy, "lazy": lazy, "contrarian": contrarian}
    if count < 1 or any(not 0 <= share <= 1 for share in shares.values()) or sum(shares.values()) > 1:
        raise SimulatedError(
            f"{count} users, of whom {', '.join(f'{share:.0%} {temper}' for temper, share in shares.items())}: that is no population"
        )
    tempers: list[Temper] = [temper for temper, share in shares.items() for _ in range(round(share * count))]
    tempers = (tempers + ["steady"] * count)[:count]
    random.Random(f"tempers {seed}").shuffle(tempers)
    users = [
        User(f"sim-{seed}-{number}", kinds[number % len(kinds)], temper, random.Random(f"user {seed} {number}"))
        for number, temper in enumerate(tempers)
    ]
    return Population(tuple(users), kinds)
