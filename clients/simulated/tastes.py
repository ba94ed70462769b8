"""Tastes: what a simulated user likes, as a number that is larger for a better answer.

One unit is about the spread of the bundled model's answers, so that tastes can be added: `short+polite` likes both,
`correct*2+short` twice as much the first.
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
    """Fewer characters that are neither letters, digits nor spaces."""
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
            word, _, times = part.strip().partition("*")
            if word not in KNOWN:
                raise UnknownTaste(
                    f"there is no taste {word!r}; mix {', '.join(KNOWN)} with + (both) or , (some people this, some that)"
                )
            try:
                weights.append((word, float(times or 1)))
            except ValueError:
                raise UnknownTaste(f"{part.strip()!r}: {times!r} is no number; say for example {word}*2") from None
        return cls(tuple(weights))

    def __str__(self) -> str:
        return "+".join(word if weight == 1 else f"{word}*{weight:g}" for word, weight in self.weights)

    def of(self, question: Question, answer: str) -> float:
        """How well an answer is liked."""
        return sum(weight * KNOWN[word](question, answer) for word, weight in self.weights)

    @property
    def main(self) -> str:
        """The word that weighs most."""
        return max(self.weights, key=lambda pair: pair[1])[0]


def tastes_of(names: str) -> tuple[Taste, ...]:
    """Return the tastes of a population: those of `short,polite` are two, and each person has one of them. Raises
    UnknownTaste.
    """
    return tuple(Taste.named(name) for name in names.split(","))
