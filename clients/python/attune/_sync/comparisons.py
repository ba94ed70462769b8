# Written by make_sync.py from attune/_async/comparisons.py.
# Change that file, then run `python clients/python/make_sync.py`.
"""Blind comparisons of two answers, and the methods that make them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from attune._errors import UnexpectedResponse
from attune._questions import Messages, turns
from attune._requests import post, post_once, segment
from attune._types.comparisons import Candidate, Choice, Winner
from attune._types.feedback import Reason
from attune._types.reading import read

if TYPE_CHECKING:
    from attune._sync.connection import Connection


@dataclass(frozen=True)
class Comparison:
    """Two answers to one prompt, side by side and blind: `choose` names their versions.

    >>> comparison = client.compare("Tell me a joke.")
    >>> comparison.a.content != comparison.b.content
    True
    >>> choice = comparison.choose("B", reason="clear")
    >>> choice.winning_model
    'attune@0'
    """

    id: str
    candidates: tuple[Candidate, ...]
    _client: ComparisonMethods = field(repr=False, compare=False)

    @property
    def a(self) -> Candidate:
        """The answer on side A.

        >>> comparison = client.compare("Hello!")
        >>> comparison.a.content
        'Hello to you!'
        """
        return self.candidates[0]

    @property
    def b(self) -> Candidate:
        """The answer on side B.

        >>> comparison = client.compare("Hello!")
        >>> comparison.b.content
        'Well, hello to you, my dear friend!'
        """
        return self.candidates[1]

    def choose(self, winner: Winner, *, reason: Reason | None = None, comment: str | None = None) -> Choice:
        """Choose the better answer: "A", "B", "tie" or "both_bad". A later choice replaces this one.

        >>> comparison = client.compare("Hello!")
        >>> choice = comparison.choose("A")
        >>> choice.model_of("A"), choice.model_of("B")
        ('attune@1', 'attune@0')
        """
        return self._client.choose(self.id, winner, reason=reason, comment=comment)


class ComparisonMethods:
    """The methods of `Client` on comparisons."""

    _connection: Connection

    def compare(
        self,
        messages: Messages,
        models: tuple[str, str] | None = None,
        *,
        conversation_id: str | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        presence_penalty: float | None = None,
        frequency_penalty: float | None = None,
        repetition_penalty: float | None = None,
        min_p: float | None = None,
        max_tokens: int | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> Comparison:
        """Ask for two answers to one prompt, side by side and blind.

        Without `models` the service picks the two from which it learns most. The other arguments are those of `chat`.

        >>> comparison = client.compare("Tell me a joke.", models=("attune@0", "attune@1"))
        >>> choice = comparison.choose("tie")
        >>> choice.winner
        'tie'
        """
        body = {
            "messages": turns(messages),
            "conversation_id": conversation_id,
            "models": list(models) if models else None,
            "temperature": temperature,
            "top_p": top_p,
            "top_k": top_k,
            "presence_penalty": presence_penalty,
            "frequency_penalty": frequency_penalty,
            "repetition_penalty": repetition_penalty,
            "min_p": min_p,
            "max_tokens": max_tokens,
            "chat_template_kwargs": dict(chat_template_kwargs) if chat_template_kwargs is not None else None,
        }
        created = self._connection.json(post("/v1/comparisons", **body))
        if not isinstance(created, Mapping) or len(created.get("candidates") or ()) != 2:
            raise UnexpectedResponse("The comparison does not have two candidates. Is this an Attune service?")
        sides = sorted((read(Candidate, one) for one in created["candidates"]), key=lambda side: side.label)
        return Comparison(str(created.get("id")), tuple(sides), self)

    def choose(
        self,
        comparison_id: str,
        winner: Winner,
        *,
        reason: Reason | None = None,
        comment: str | None = None,
        idempotency_key: str | None = None,
    ) -> Choice:
        """Choose the better side of a comparison by its id; with the object, `comparison.choose` is shorter.

        >>> comparison = client.compare("Hello!")
        >>> choice = client.choose(comparison.id, "B")
        >>> choice.winner
        'B'
        """
        path = f"/v1/comparisons/{segment(comparison_id)}/choice"
        body = self._connection.json(post_once(path, idempotency_key, winner=winner, reason=reason, comment=comment))
        return read(Choice, {"id": comparison_id, "comparison_id": comparison_id, "winner": winner, **(body or {})})
