# Written by make_sync.py from attune/_async/feedback.py.
# Change that file, then run `python clients/python/make_sync.py`.
"""Methods that give, list and retract feedback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from attune._answer_data import AnswerData
from attune._requests import Request, get, post_once, segment
from attune._types.feedback import Feedback, Reason, Thumb
from attune._types.reading import read

if TYPE_CHECKING:
    from attune._sync.connection import Connection


class FeedbackMethods:
    """The methods of `Client` on feedback."""

    _connection: Connection

    def feedback(
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

        >>> answer = client.chat("Hello!")
        >>> feedback = client.feedback(answer.id, score=0.9, metadata={"page": "help"})
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
        return read(Feedback, self._connection.json(request))

    def rate(
        self,
        completion_id: str,
        thumb: Thumb,
        *,
        choice: int = 0,
        reason: Reason | None = None,
        comment: str | None = None,
    ) -> Feedback:
        """Give a thumb, "up" or "down", to the answer with this id.

        >>> answer = client.chat("Hello!")
        >>> feedback = client.rate(answer.id, "up")
        >>> feedback.thumb
        'up'
        """
        return self.feedback(completion_id, choice=choice, thumb=thumb, reason=reason, comment=comment)

    def score(
        self,
        completion_id: str,
        score: float,
        *,
        choice: int = 0,
        reason: Reason | None = None,
        comment: str | None = None,
    ) -> Feedback:
        """Give a score from 0.0 to 1.0 to the answer with this id.

        >>> answer = client.chat("Hello!")
        >>> feedback = client.score(answer.id, 0.5)
        >>> feedback.score
        0.5
        """
        return self.feedback(completion_id, choice=choice, score=score, reason=reason, comment=comment)

    def correct(self, completion_id: str, text: str, *, choice: int = 0, comment: str | None = None) -> Feedback:
        """Give a correction of the answer with this id.

        >>> answer = client.chat("What is 7 + 5?")
        >>> feedback = client.correct(answer.id, "12")
        >>> feedback.kind
        'correction'
        """
        return self.feedback(completion_id, choice=choice, correction=text, comment=comment)

    def prefer(
        self,
        better: AnswerData | str,
        worse: AnswerData | str,
        *,
        reason: Reason | None = None,
        comment: str | None = None,
    ) -> Feedback:
        """Prefer one of two answers to the same prompt, given as answers or as ids.

        >>> one = client.chat("Hello!", model="attune@1")
        >>> other = client.chat("Hello!", model="attune@0")
        >>> feedback = client.prefer(one, other)
        >>> feedback.preferred_over["completion_id"] == other.id
        True
        """
        (completion_id, choice), lost = _pointer(better), _pointer(worse)
        return self.feedback(completion_id, choice=choice, preferred_over=lost, reason=reason, comment=comment)

    def list_feedback(
        self, *, completion_id: str | None = None, rater: str | None = None, limit: int | None = None
    ) -> Iterator[Feedback]:
        """All feedback, newest first, in pages of `limit` rows that load as you iterate. Needs an admin key.

        >>> answer = client.chat("Hello!")
        >>> feedback = answer.rate("up")
        >>> [one.thumb for one in client.list_feedback(completion_id=answer.id)]
        ['up']
        """
        for one in self._connection.pages(
            get("/v1/feedback", completion_id=completion_id, rater=rater, limit=limit), Feedback
        ):
            yield one

    def retract(self, feedback: Feedback | str) -> None:
        """Retract feedback: your own, or anybody's with an admin key. The learner ignores it. Raises NotFound.

        What the same person gave on the same answer goes with it, so that no thumb of theirs stands, or no correction.

        >>> answer = client.chat("Hello!")
        >>> feedback = answer.rate("down")
        >>> client.retract(feedback)
        """
        feedback_id = feedback if isinstance(feedback, str) else feedback.id
        self._connection.json(Request("DELETE", f"/v1/feedback/{segment(feedback_id)}"))


def _pointer(answer: AnswerData | str) -> tuple[str, int]:
    return (answer, 0) if isinstance(answer, str) else (answer.id, answer.choice)
