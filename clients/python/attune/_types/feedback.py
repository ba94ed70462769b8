"""Feedback on answers, and the values that it can have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Thumb = Literal["up", "down"]
Reason = Literal[
    "correct", "helpful", "clear", "style", "wrong", "unhelpful", "unsafe", "too_long", "too_short", "refused", "other"
]


@dataclass(frozen=True)
class Feedback:
    """One rater's feedback on one answer.

    `kind` is thumb, score, correction, preference, choice or regenerate. A `regenerate` row means that the rater asked
    for another answer; `instead` names that answer.

    >>> feedback = client.chat("Hello!").rate("up", reason="helpful")
    >>> feedback.kind, feedback.thumb, feedback.reason
    ('thumb', 'up', 'helpful')
    """

    id: str
    completion_id: str = ""
    choice: int = 0
    kind: str = ""
    created_at: str = ""
    rater: str = ""
    thumb: str | None = None
    score: float | None = None
    correction: str | None = None
    preferred_over: dict[str, Any] | None = None
    instead: dict[str, Any] | None = None
    comparison_id: str | None = None
    winner: str | None = None
    reason: str | None = None
    comment: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    retracted_at: str | None = None


@dataclass(frozen=True)
class Tally:
    """Counts of thumbs.

    >>> client.version(1).thumbs
    Tally(up=3, down=1)
    """

    up: int = 0
    down: int = 0
