"""An answer, with the methods that give feedback on it and continue its conversation."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from attune._answer_data import AnswerData
from attune._types.feedback import Feedback, Reason, Thumb

if TYPE_CHECKING:
    from attune._async.client import AsyncClient

REGENERATED_FROM = "regenerated_from"  # key in a chat's metadata: the id of the answer to replace
REGENERATED_CHOICE = "regenerated_choice"  # and its choice, with `n` above 1


@dataclass(frozen=True, kw_only=True)
class AsyncAnswer(AnswerData):
    """One answer of the service, with methods to give feedback on it.

    >>> answer = await client.chat("Hello!")
    >>> answer.text, answer.version, answer.model
    ('Hello to you!', 1, 'attune@1')
    >>> feedback = await answer.rate("up")
    >>> feedback.kind
    'thumb'
    """

    _client: AsyncClient = field(repr=False, compare=False)
    _siblings: tuple[AnswerData, ...] = field(default=(), repr=False, compare=False)

    @property
    def choices(self) -> tuple[AsyncAnswer, ...]:
        """All answers to the same question, for `n` above 1. Each takes feedback of its own.

        >>> answer = await client.chat("Hello!", n=2)
        >>> [choice.choice for choice in answer.choices]
        [0, 1]
        """
        return tuple(answer_of(self._client, self._siblings, answer.choice) for answer in self._siblings)

    async def rate(self, thumb: Thumb, *, reason: Reason | None = None, comment: str | None = None) -> Feedback:
        """Give a thumb, "up" or "down". Your later thumb or score replaces it.

        >>> answer = await client.chat("Hello!")
        >>> feedback = await answer.rate("down", reason="too_long", comment="One word would do.")
        >>> feedback.thumb
        'down'
        """
        return await self._client.rate(self.id, thumb, choice=self.choice, reason=reason, comment=comment)

    async def score(self, score: float, *, reason: Reason | None = None, comment: str | None = None) -> Feedback:
        """Give a score from 0.0 (useless) to 1.0 (perfect).

        >>> answer = await client.chat("Hello!")
        >>> feedback = await answer.score(0.75)
        >>> feedback.score
        0.75
        """
        return await self._client.score(self.id, score, choice=self.choice, reason=reason, comment=comment)

    async def correct(self, text: str, *, comment: str | None = None) -> Feedback:
        """Give a correction: the answer that the service should have given.

        >>> answer = await client.chat("What is 7 + 5?")
        >>> feedback = await answer.correct("12")
        >>> feedback.correction
        '12'
        """
        return await self._client.correct(self.id, text, choice=self.choice, comment=comment)

    async def prefer_over(
        self, worse: AnswerData, *, reason: Reason | None = None, comment: str | None = None
    ) -> Feedback:
        """Prefer this answer over a worse one to the same prompt.

        >>> first = await client.chat("Hello!", n=2)
        >>> feedback = await first.choices[1].prefer_over(first)
        >>> feedback.kind
        'preference'
        """
        return await self._client.prefer(self, worse, reason=reason, comment=comment)

    async def ask(self, text: str) -> AsyncAnswer:
        """Ask the next question in this conversation, with the same model and sampling.

        >>> first = await client.chat("What is 7 + 5?")
        >>> second = await first.ask("And times two?")
        >>> second.conversation_id == first.conversation_id
        True
        """
        messages = [*self.messages, {"role": "user", "content": text}]
        settings = _without_origin(self.settings)
        answer: AsyncAnswer = await self._client.chat(messages, conversation_id=self.conversation_id, **settings)
        return answer

    async def regenerate(self) -> AsyncAnswer:
        """Ask the same question again. The service records this as weak negative feedback on the first answer.

        >>> answer = await client.chat("Tell me a joke.")
        >>> again = await answer.regenerate()
        >>> again.id != answer.id
        True
        """
        # without the seed: the same one would give the same answer
        settings = {name: value for name, value in self.settings.items() if name != "seed"}
        origin = {REGENERATED_FROM: self.id, **({REGENERATED_CHOICE: str(self.choice)} if self.choice else {})}
        settings["metadata"] = {**_own_metadata(self.settings), **origin}
        answer: AsyncAnswer = await self._client.chat(
            self.messages[:-1], conversation_id=self.conversation_id, **settings
        )
        return answer


def _without_origin(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of an answer without the note that it replaces another one."""
    kept = _own_metadata(settings)
    plain = {name: value for name, value in settings.items() if name != "metadata"}
    return {**plain, "metadata": kept} if kept else plain


def _own_metadata(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in settings.get("metadata", {}).items()
        if name not in (REGENERATED_FROM, REGENERATED_CHOICE)
    }


def answer_of(client: AsyncClient, answers: tuple[AnswerData, ...], choice: int) -> AsyncAnswer:
    """Return one of the answers to a question, bound to its client."""
    answer = next((answer for answer in answers if answer.choice == choice), answers[0])
    known = {known.name: getattr(answer, known.name) for known in fields(AnswerData)}
    return AsyncAnswer(**known, _client=client, _siblings=answers)
