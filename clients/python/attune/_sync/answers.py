# Written by make_sync.py from attune/_async/answers.py.
# Change that file, then run `python clients/python/make_sync.py`.
"""What the client hands out that can be acted on: a reply, a reply under way, a comparison."""

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
from attune._types import Candidate, Choice, Feedback, Reason, Thumb, Winner

if TYPE_CHECKING:
    import httpx
    from typing_extensions import Self

    from attune._sync.client import Client

REGENERATED_FROM = "regenerated_from"  # in the metadata of a chat: the id of the answer that did not satisfy
REGENERATED_CHOICE = "regenerated_choice"  # which of several


@dataclass(frozen=True, kw_only=True)
class Answer(AnswerData):
    """One answer of the service, and what you can say about it.

    >>> reply = client.chat("Hello!")
    >>> reply.text, reply.version, reply.model
    ('Hello to you!', 1, 'attune@1')
    >>> feedback = reply.rate("up")
    >>> feedback.kind
    'thumb'
    """

    _client: Client = field(repr=False, compare=False)
    _siblings: tuple[AnswerData, ...] = field(default=(), repr=False, compare=False)

    @property
    def choices(self) -> tuple[Answer, ...]:
        """All answers to the same question, where `n` asked for several. Each can be rated by itself.

        >>> reply = client.chat("Hello!", n=2)
        >>> [choice.choice for choice in reply.choices]
        [0, 1]
        """
        return tuple(reply_of(self._client, self._siblings, answer.choice) for answer in self._siblings)

    def rate(self, thumb: Thumb, *, reason: Reason | None = None, comment: str | None = None) -> Feedback:
        """Give it a thumb, "up" or "down". A later thumb or score of yours replaces this one.

        >>> reply = client.chat("Hello!")
        >>> feedback = reply.rate("down", reason="too_long", comment="One word would do.")
        >>> feedback.thumb
        'down'
        """
        return self._client.rate(self.id, thumb, choice=self.choice, reason=reason, comment=comment)

    def score(self, score: float, *, reason: Reason | None = None, comment: str | None = None) -> Feedback:
        """Give it a score from 0.0 (useless) to 1.0 (perfect).

        >>> reply = client.chat("Hello!")
        >>> feedback = reply.score(0.75)
        >>> feedback.score
        0.75
        """
        return self._client.score(self.id, score, choice=self.choice, reason=reason, comment=comment)

    def correct(self, text: str, *, comment: str | None = None) -> Feedback:
        """Say what the answer should have been.

        >>> reply = client.chat("What is 7 + 5?")
        >>> feedback = reply.correct("12")
        >>> feedback.correction
        '12'
        """
        return self._client.correct(self.id, text, choice=self.choice, comment=comment)

    def prefer_over(self, worse: AnswerData, *, reason: Reason | None = None, comment: str | None = None) -> Feedback:
        """Say that this answer is better than another one to the same prompt.

        >>> first = client.chat("Hello!", n=2)
        >>> feedback = first.choices[1].prefer_over(first)
        >>> feedback.kind
        'preference'
        """
        return self._client.prefer(self, worse, reason=reason, comment=comment)

    def ask(self, text: str) -> Answer:
        """Go on: ask the next thing in this conversation, sampled in the same way.

        >>> first = client.chat("What is 7 + 5?")
        >>> second = first.ask("And times two?")
        >>> second.conversation_id == first.conversation_id
        True
        """
        messages = [*self.messages, {"role": "user", "content": text}]
        settings = _without_origin(self.settings)
        reply: Answer = self._client.chat(messages, conversation_id=self.conversation_id, **settings)
        return reply

    def regenerate(self) -> Answer:
        """Ask the same thing again. The service notes that this answer did not satisfy: a weak signal, far less than a
        thumb down.

        >>> reply = client.chat("Tell me a joke.")
        >>> again = reply.regenerate()
        >>> again.id != reply.id
        True
        """
        settings = {
            name: value for name, value in self.settings.items() if name != "seed"
        }  # the same seed would say the same again
        origin = {REGENERATED_FROM: self.id, **({REGENERATED_CHOICE: str(self.choice)} if self.choice else {})}
        settings["metadata"] = {**_own_metadata(self.settings), **origin}
        reply: Answer = self._client.chat(self.messages[:-1], conversation_id=self.conversation_id, **settings)
        return reply


def _without_origin(settings: dict[str, Any]) -> dict[str, Any]:
    """Return how to sample the next answer: as this one, but it is not an answer given anew."""
    kept = _own_metadata(settings)
    plain = {name: value for name, value in settings.items() if name != "metadata"}
    return {**plain, "metadata": kept} if kept else plain


def _own_metadata(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in settings.get("metadata", {}).items()
        if name not in (REGENERATED_FROM, REGENERATED_CHOICE)
    }


def reply_of(client: Client, answers: tuple[AnswerData, ...], choice: int) -> Answer:
    """Return one of the answers to one question, able to act."""
    answer = next((answer for answer in answers if answer.choice == choice), answers[0])
    known = {known.name: getattr(answer, known.name) for known in fields(AnswerData)}
    return Answer(**known, _client=client, _siblings=answers)


class Stream(Iterator[str]):
    """An answer under way: iterate over its pieces of text, then `reply` is the finished answer.

    Leaving early (`close`, or the end of `with`) makes the service stop. With `n` above 1 the pieces are those of
    the first
    answer; `reply.choices` has all.

    >>> with client.chat("Hello!", stream=True) as stream:
    ...     for piece in stream:
    ...         print(piece, end="|")
    ...     print(stream.reply.version)
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
        self._reply: Answer | None = None
        self._is_closed = False
        self._text: list[str] = []

    @property
    def text(self) -> str:
        """The text that has come so far.

        >>> stream = client.chat("Hello!", stream=True)
        >>> piece = next(stream)
        >>> stream.text
        'Hello'
        >>> stream.close()
        """
        return "".join(self._text)

    @property
    def reply(self) -> Answer:
        """The finished answer. Raises AttuneError while pieces are still to come.

        >>> stream = client.chat("Hello!", stream=True)
        >>> text = "".join([piece for piece in stream])
        >>> stream.reply.text == text
        True
        """
        if self._reply is None:
            raise AttuneError("The answer is not finished: read the stream to its end first.")
        return self._reply

    def finish(self) -> Answer:
        """Read what is still to come, and return the finished answer.

        >>> stream = client.chat("Hello!", stream=True)
        >>> reply = stream.finish()
        >>> reply.text
        'Hello to you!'
        """
        for _ in self:
            pass
        return self.reply

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        while not self._is_closed:
            event = self._next_event()
            if event is None or event.data == DONE:
                self._end()
            else:
                piece = self._draft.take(self._read(event))
                if piece:
                    self._text.append(piece)
                    return piece
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
        self._reply = reply_of(self._client, answers, 0)

    def close(self) -> None:
        """Stop the answer where it is.

        >>> stream = client.chat("Tell me a joke.", stream=True)
        >>> stream.close()
        >>> [piece for piece in stream]
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
    """Two answers to one prompt, side by side and blind: which version wrote which is told once you have chosen.

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
        """Say which answer is better: "A", "B", "tie" or "both_bad". Choosing again replaces your earlier choice.

        >>> comparison = client.compare("Hello!")
        >>> choice = comparison.choose("A")
        >>> choice.model_of("A"), choice.model_of("B")
        ('attune@1', 'attune@0')
        """
        return self._client.choose(self.id, winner, reason=reason, comment=comment)
