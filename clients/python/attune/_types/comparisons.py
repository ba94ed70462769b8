"""Blind comparisons: their two sides, their outcome, and the counts of a version."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Winner = Literal["A", "B", "tie", "both_bad"]


@dataclass(frozen=True)
class Candidate:
    """One side of a blind comparison, without its version.

    >>> client.compare("Tell me a joke.").a.label
    'A'
    """

    label: str
    completion_id: str
    content: str
    choice: int = 0


@dataclass(frozen=True)
class Choice:
    """The outcome of a comparison, with the names of both models.

    >>> choice = client.compare("Tell me a joke.").choose("A")
    >>> choice.winner, choice.model_of("A"), choice.winning_model
    ('A', 'attune@1', 'attune@1')
    """

    id: str
    winner: str
    models: dict[str, str] = field(default_factory=dict)
    comparison_id: str = ""
    created_at: str = ""

    def model_of(self, label: str) -> str | None:
        """The model that wrote side "A" or "B".

        >>> client.compare("Tell me a joke.").choose("tie").model_of("B")
        'attune@0'
        """
        return self.models.get(label)

    @property
    def winning_model(self) -> str | None:
        """The model that wrote the better answer, None when neither won.

        >>> client.compare("Tell me a joke.").choose("both_bad").winning_model is None
        True
        """
        return self.models.get(self.winner)


@dataclass(frozen=True)
class Record:
    """Counts of a version's comparisons.

    >>> client.version(1).comparisons
    Record(wins=5, losses=2, ties=1)
    """

    wins: int = 0
    losses: int = 0
    ties: int = 0
