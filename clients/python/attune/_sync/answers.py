# Written by make_sync.py from attune/_async/answers.py.
# Change that file, then run `python clients/python/make_sync.py`.
"""The objects that the client returns: an answer, a stream, a comparison."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from types import TracebackType
from typing import TYPE_CHECKING, Any

from attune._answers import AnswerData, Asked, Draft, answers_of
from attune._errors import APIError, AttuneError, ServiceUnreachable
from attune._stream import DONE, EventReader, ServerEvent, json_of
from attune._transport import faults_of
from attune._types.comparisons import Candidate, Choice, Winner
from attune._types.feedback import Feedback, Reason, Thumb

if TYPE_CHECKING:
    import httpx
    from typing_extensions import Self

    from attune._sync.client import Client

REGENERATED_FROM = "regenerated_from"  # key in a chat's metadata: the id of the answer to replace
REGENERATED_CHOICE = "regenerated_choice"  # and its choice, with `n` above 1


@dataclass(frozen=True, kw_only=True)
class Answer(AnswerData):
    """One answer of the service, with methods to give feedback on it.

    >>> answer = client.chat("Hello!")
    >>> answer.text, answer.version, answer.model
    ('Hello to you!', 1, 'attune@1')
    >>> feedback = answer.rate("up")
    >>> feedback.kind
    'thumb'
    """

    _client: Client = field(repr=False, compare=False)
    _siblings: tuple[AnswerData, ...] = field(default=(), repr=False, compare=False)

    @property
    def choices(self) -> tuple[Answer, ...]:
        """All answers to the same question, for `n` above 1. Each takes feedback of its own.

        >>> answer = client.chat("Hello!", n=2)
        >>> [choice.choice for choice in answer.choices]
        [0, 1]
        """
        return tuple(answer_of(self._client, self._siblings, answer.choice) for answer in self._siblings)

    def rate(self, thumb: Thumb, *, reason: Reason | None = None, comment: str | None = None) -> Feedback:
        """Give a thumb, "up" or "down". Your later thumb or score replaces it.

        >>> answer = client.chat("Hello!")
        >>> feedback = answer.rate("down", reason="too_long", comment="One word would do.")
        >>> feedback.thumb
        'down'
        """
        return self._client.rate(self.id, thumb, choice=self.choice, reason=reason, comment=comment)

    def score(self, score: float, *, reason: Reason | None = None, comment: str | None = None) -> Feedback:
        """Give a score from 0.0 (useless) to 1.0 (perfect).

        >>> answer = client.chat("Hello!")
        >>> feedback = answer.score(0.75)
        >>> feedback.score
        0.75
        """
        return self._client.score(self.id, score, choice=self.choice, reason=reason, comment=comment)

    def correct(self, text: str, *, comment: str | None = None) -> Feedback:
        """Give a correction: the answer that the service should have given.

        >>> answer = client.chat("What is 7 + 5?")
        >>> feedback = answer.correct("12")
        >>> feedback.correction
        '12'
        """
        return self._client.correct(self.id, text, choice=self.choice, comment=comment)

    def prefer_over(self, worse: AnswerData, *, reason: Reason | None = None, comment: str | None = None) -> Feedback:
        """Prefer this answer over a worse one to the same prompt.

        >>> first = client.chat("Hello!", n=2)
        >>> feedback = first.choices[1].prefer_over(first)
        >>> feedback.kind
        'preference'
        """
        return self._client.prefer(self, worse, reason=reason, comment=comment)

    def ask(self, text: str) -> Answer:
        """Ask the next question in this conversation, with the same model and sampling.

        >>> first = client.chat("What is 7 + 5?")
        >>> second = first.ask("And times two?")
        >>> second.conversation_id == first.conversation_id
        True
        """
        messages = [*self.messages, {"role": "user", "content": text}]
        settings = _without_origin(self.settings)
        answer: Answer = self._client.chat(messages, conversation_id=self.conversation_id, **settings)
        return answer

    def regenerate(self) -> Answer:
        """Ask the same question again. The service records this as weak negative feedback on the first answer.

        >>> answer = client.chat("Tell me a joke.")
        >>> again = answer.regenerate()
        >>> again.id != answer.id
        True
        """
        # without the seed: the same one would give the same answer
        settings = {name: value for name, value in self.settings.items() if name != "seed"}
        origin = {REGENERATED_FROM: self.id, **({REGENERATED_CHOICE: str(self.choice)} if self.choice else {})}
        settings["metadata"] = {**_own_metadata(self.settings), **origin}
        answer: Answer = self._client.chat(self.messages[:-1], conversation_id=self.conversation_id, **settings)
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


def answer_of(client: Client, answers: tuple[AnswerData, ...], choice: int) -> Answer:
    """Return one of the answers to a question, bound to its client."""
    answer = next((answer for answer in answers if answer.choice == choice), answers[0])
    known = {known.name: getattr(answer, known.name) for known in fields(AnswerData)}
    return Answer(**known, _client=client, _siblings=answers)


class Stream(Iterator[str]):
    """An answer under way: iterate over its text, then `answer` is the finished answer.

    Each delta is the text that is new since the one before. Leaving early (`close`, or the end of `with`) stops
    the service. With `n` above 1 the deltas are those of the first answer; `answer.choices` has all.

    >>> with client.chat("Hello!", stream=True) as stream:
    ...     for delta in stream:
    ...         print(delta, end="|")
    ...     print(stream.answer.version)
    Hello| to| you!|1
    """

    def __init__(self, client: Client, response: httpx.Response, question: Asked) -> None:
        self._client = client
        self._response = response
        self._received = response.iter_bytes()
        self._question = question
        self._reader = EventReader()
        self._events: deque[ServerEvent] = deque()
        self._draft = Draft()
        self._answer: Answer | None = None
        self._is_closed = False
        self._text: list[str] = []

    @property
    def text(self) -> str:
        """The text received so far.

        >>> stream = client.chat("Hello!", stream=True)
        >>> delta = next(stream)
        >>> stream.text
        'Hello'
        >>> stream.close()
        """
        return "".join(self._text)

    @property
    def answer(self) -> Answer:
        """The finished answer. Raises AttuneError before the stream has ended.

        >>> stream = client.chat("Hello!", stream=True)
        >>> text = "".join([delta for delta in stream])
        >>> stream.answer.text == text
        True
        """
        if self._answer is None:
            raise AttuneError("The answer is not finished: read the stream to its end first.")
        return self._answer

    def finish(self) -> Answer:
        """Read the stream to its end and return the finished answer.

        >>> stream = client.chat("Hello!", stream=True)
        >>> answer = stream.finish()
        >>> answer.text
        'Hello to you!'
        """
        for _ in self:
            pass
        return self.answer

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        while not self._is_closed:
            event = self._next_event()
            if event is None or event.data == DONE:
                self._end()
            else:
                delta = self._draft.take(self._read(event))
                if delta:
                    self._text.append(delta)
                    return delta
        raise StopIteration

    def _next_event(self) -> ServerEvent | None:
        while not self._events:
            try:
                with faults_of(self._client.address):
                    self._events.extend(self._reader.feed(self._received.__next__()))
            except StopIteration:
                return None
            except AttuneError:
                self.close()
                raise
        return self._events.popleft()

    def _read(self, event: ServerEvent) -> dict[str, Any]:
        try:
            return json_of(event)
        except AttuneError as error:
            if isinstance(error, APIError):
                error.request_id = self._response.headers.get("x-request-id")
            self.close()
            raise

    def _end(self) -> None:
        self.close()
        if not self._draft.is_whole:
            raise ServiceUnreachable(
                f"The connection to {self._client.address.url} broke in the middle of an answer; ask again."
            )
        answers = answers_of(self._draft.body, self._response.headers.get("x-attune-version"), self._question)
        self._answer = answer_of(self._client, answers, 0)

    def close(self) -> None:
        """Stop the answer.

        >>> stream = client.chat("Tell me a joke.", stream=True)
        >>> stream.close()
        >>> [delta for delta in stream]
        []
        """
        self._is_closed = True
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
    _client: Client = field(repr=False, compare=False)

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
