"""Tastes of simulated users: functions of an answer that are larger for a better one.

One unit is about the spread of the bundled model's answers, so that tastes can be added: `short+polite` likes both,
and `correct*2+short` gives the first twice the weight.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from clients.simulated.errors import UnknownTaste
from clients.simulated.questions import Question
from pocket.skills import measure


def _short(question: Question, answer: str) -> float:
    return -math.log2(1 + len(answer))


def _long(question: Question, answer: str) -> float:
    return math.log2(1 + len(answer))


def _plain(question: Question, answer: str) -> float:
    """More for fewer characters that are neither letters, digits nor spaces."""
    return -20 * measure(answer).punctuation


def _polite(question: Question, answer: str) -> float:
    style = measure(answer)
    return float(style.polite) - 2 * style.rude


def _correct(question: Question, answer: str) -> float:
    return 2 * float(question.is_right(answer))


KNOWN: Mapping[str, Callable[[Question, str], float]] = {
    "short": _short,
    "long": _long,
    "plain": _plain,
    "polite": _polite,
    "correct": _correct,
}


@dataclass(frozen=True)
class Taste:
    """A weighted sum of known tastes."""

    weights: tuple[tuple[str, float], ...]

    @classmethod
    def named(cls, name: str) -> "Taste":
        """Return the taste of a name such as `short`, `short+polite` or `correct*2+short`. Raises UnknownTaste."""
        weights = []
        for part in name.split("+"):
            single, _, times = part.strip().partition("*")
            if single not in KNOWN:
                known = ", ".join(KNOWN)
                raise UnknownTaste(f"there is no taste {single!r}; mix {known} with + (both) or , (two kinds of users)")
            try:
                weights.append((single, float(times or 1)))
            except ValueError:
                raise UnknownTaste(f"{part.strip()!r}: {times!r} is no number; an example is {single}*2") from None
        return cls(tuple(weights))

    def __str__(self) -> str:
        return "+".join(single if weight == 1 else f"{single}*{weight:g}" for single, weight in self.weights)

    def of(self, question: Question, answer: str) -> float:
        """Return the taste's value of an answer."""
        return sum(weight * KNOWN[single](question, answer) for single, weight in self.weights)

    @property
    def main(self) -> str:
        """The known taste with the largest weight."""
        return max(self.weights, key=lambda pair: pair[1])[0]


def tastes_of(names: str) -> tuple[Taste, ...]:
    """Return the tastes of a population: `short,polite` gives two, and each user has one. Raises UnknownTaste."""
    return tuple(Taste.named(name) for name in names.split(","))
