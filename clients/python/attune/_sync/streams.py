# Written by make_sync.py from attune/_async/streams.py.
# Change that file, then run `python clients/python/make_sync.py`.
"""Answers that arrive as they are written."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from attune._answer_data import Draft, answers_of
from attune._sync.answers import Answer, answer_of
from attune._errors import APIError, AttuneError, ServiceUnreachable
from attune._questions import Asked
from attune._responses import faults_of
from attune._server_events import DONE, EventReader, ServerEvent, json_of

if TYPE_CHECKING:
    import httpx
    from typing_extensions import Self

    from attune._sync.client import Client


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
