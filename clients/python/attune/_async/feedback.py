"""Methods that give, list and retract feedback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from attune._answer_data import AnswerData
from attune._requests import Request, get, post_once, segment
from attune._types.feedback import Feedback, Reason, Thumb
from attune._types.reading import read

if TYPE_CHECKING:
    from attune._async.connection import AsyncConnection


class AsyncFeedbackMethods:
    """The methods of `AsyncClient` on feedback."""

    _connection: AsyncConnection

    async def feedback(
        self,
        completion_id: str,
        *,
        choice: int = 0,
        thumb: Thumb | None = None,
        score: float | None = None,
        correction: str | None = None,
        preferred_over: tuple[str, int] | None = None,
        reason: Reason | None = None,
        comment: str | None = None,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Feedback:
        """Give feedback on an answer: exactly one of `thumb`, `score`, `correction`, `preferred_over`.

        `preferred_over` is the id and choice of the worse answer. The feedback is on the service's disk when this
        returns. An idempotency key keeps it single when the network needs several tries; give your own key to make a
        whole program repeatable. Raises NotFound, BadRequest, Conflict (the key with another body).

        >>> answer = await client.chat("Hello!")
        >>> feedback = await client.feedback(answer.id, score=0.9, metadata={"page": "help"})
        >>> feedback.kind, feedback.score
        ('score', 0.9)
        """
        worse = {"completion_id": preferred_over[0], "choice": preferred_over[1]} if preferred_over else None
        rating = {"thumb": thumb, "score": score, "correction": correction, "preferred_over": worse}
        about = {
            "completion_id": completion_id,
            "choice": choice,
            "reason": reason,
            "comment": comment,
            "metadata": metadata,
        }
        request = post_once("/v1/feedback", idempotency_key, **about, **rating)
        return read(Feedback, await self._connection.json(request))

    async def rate(
        self,
        completion_id: str,
        thumb: Thumb,
        *,
        choice: int = 0,
        reason: Reason | None = None,
        comment: str | None = None,
    ) -> Feedback:
        """Give a thumb, "up" or "down", to the answer with this id.

        >>> answer = await client.chat("Hello!")
        >>> feedback = await client.rate(answer.id, "up")
        >>> feedback.thumb
        'up'
        """
        return await self.feedback(completion_id, choice=choice, thumb=thumb, reason=reason, comment=comment)

    async def score(
        self,
        completion_id: str,
        score: float,
        *,
        choice: int = 0,
        reason: Reason | None = None,
        comment: str | None = None,
    ) -> Feedback:
        """Give a score from 0.0 to 1.0 to the answer with this id.

        >>> answer = await client.chat("Hello!")
        >>> feedback = await client.score(answer.id, 0.5)
        >>> feedback.score
        0.5
        """
        return await self.feedback(completion_id, choice=choice, score=score, reason=reason, comment=comment)

    async def correct(self, completion_id: str, text: str, *, choice: int = 0, comment: str | None = None) -> Feedback:
        """Give a correction of the answer with this id.

        >>> answer = await client.chat("What is 7 + 5?")
        >>> feedback = await client.correct(answer.id, "12")
        >>> feedback.kind
        'correction'
        """
        return await self.feedback(completion_id, choice=choice, correction=text, comment=comment)

    async def prefer(
        self,
        better: AnswerData | str,
        worse: AnswerData | str,
        *,
        reason: Reason | None = None,
        comment: str | None = None,
    ) -> Feedback:
        """Prefer one of two answers to the same prompt, given as answers or as ids.

        >>> one = await client.chat("Hello!", model="attune@1")
        >>> other = await client.chat("Hello!", model="attune@0")
        >>> feedback = await client.prefer(one, other)
        >>> feedback.preferred_over["completion_id"] == other.id
        True
        """
        (completion_id, choice), lost = _pointer(better), _pointer(worse)
        return await self.feedback(completion_id, choice=choice, preferred_over=lost, reason=reason, comment=comment)

    async def list_feedback(
        self, *, completion_id: str | None = None, rater: str | None = None, limit: int | None = None
    ) -> AsyncIterator[Feedback]:
        """All feedback, newest first, in pages of `limit` rows that load as you iterate. Needs an admin key.

        >>> answer = await client.chat("Hello!")
        >>> feedback = await answer.rate("up")
        >>> [one.thumb async for one in client.list_feedback(completion_id=answer.id)]
        ['up']
        """
        async for one in self._connection.pages(
            get("/v1/feedback", completion_id=completion_id, rater=rater, limit=limit), Feedback
        ):
            yield one

    async def retract(self, feedback: Feedback | str) -> None:
        """Retract feedback: your own, or anybody's with an admin key. The learner ignores it. Raises NotFound.

        What the same person gave on the same answer goes with it, so that no thumb of theirs stands, or no correction.

        >>> answer = await client.chat("Hello!")
        >>> feedback = await answer.rate("down")
        >>> await client.retract(feedback)
        """
        feedback_id = feedback if isinstance(feedback, str) else feedback.id
        await self._connection.json(Request("DELETE", f"/v1/feedback/{segment(feedback_id)}"))


def _pointer(answer: AnswerData | str) -> tuple[str, int]:
    return (answer, 0) if isinstance(answer, str) else (answer.id, answer.choice)
