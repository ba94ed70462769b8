"""Answers that arrive as they are written."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from attune._answer_data import Draft, answers_of
from attune._async.answers import AsyncAnswer, answer_of
from attune._errors import APIError, AttuneError, ServiceUnreachable
from attune._questions import Asked
from attune._responses import faults_of
from attune._server_events import DONE, EventReader, ServerEvent, json_of

if TYPE_CHECKING:
    import httpx
    from typing_extensions import Self

    from attune._async.client import AsyncClient


class AsyncStream(AsyncIterator[str]):
    """An answer under way: iterate over its text, then `answer` is the finished answer.

    Each delta is the text that is new since the one before. Leaving early (`close`, or the end of `async with`) stops
    the service. With `n` above 1 the deltas are those of the first answer; `answer.choices` has all.

    >>> async with await client.chat("Hello!", stream=True) as stream:
    ...     async for delta in stream:
    ...         print(delta, end="|")
    ...     print(stream.answer.version)
    Hello| to| you!|1
    """

    def __init__(self, client: AsyncClient, response: httpx.Response, question: Asked) -> None:
        self._client = client
        self._response = response
        self._received = response.aiter_bytes()
        self._question = question
        self._reader = EventReader()
        self._events: deque[ServerEvent] = deque()
        self._draft = Draft()
        self._answer: AsyncAnswer | None = None
        self._is_closed = False
        self._text: list[str] = []

    @property
    def text(self) -> str:
        """The text received so far.

        >>> stream = await client.chat("Hello!", stream=True)
        >>> delta = await anext(stream)
        >>> stream.text
        'Hello'
        >>> await stream.close()
        """
        return "".join(self._text)

    @property
    def answer(self) -> AsyncAnswer:
        """The finished answer. Raises AttuneError before the stream has ended.

        >>> stream = await client.chat("Hello!", stream=True)
        >>> text = "".join([delta async for delta in stream])
        >>> stream.answer.text == text
        True
        """
        if self._answer is None:
            raise AttuneError("The answer is not finished: read the stream to its end first.")
        return self._answer

    async def finish(self) -> AsyncAnswer:
        """Read the stream to its end and return the finished answer.

        >>> stream = await client.chat("Hello!", stream=True)
        >>> answer = await stream.finish()
        >>> answer.text
        'Hello to you!'
        """
        async for _ in self:
            pass
        return self.answer

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while not self._is_closed:
            event = await self._next_event()
            if event is None or event.data == DONE:
                await self._end()
            else:
                delta = self._draft.take(await self._read(event))
                if delta:
                    self._text.append(delta)
                    return delta
        raise StopAsyncIteration

    async def _next_event(self) -> ServerEvent | None:
        while not self._events:
            try:
                with faults_of(self._client.address):
                    self._events.extend(self._reader.feed(await self._received.__anext__()))
            except StopAsyncIteration:
                return None
            except AttuneError:
                await self.close()
                raise
        return self._events.popleft()

    async def _read(self, event: ServerEvent) -> dict[str, Any]:
        try:
            return json_of(event)
        except AttuneError as error:
            if isinstance(error, APIError):
                error.request_id = self._response.headers.get("x-request-id")
            await self.close()
            raise

    async def _end(self) -> None:
        await self.close()
        if not self._draft.is_whole:
            raise ServiceUnreachable(
                f"The connection to {self._client.address.url} broke in the middle of an answer; ask again."
            )
        answers = answers_of(self._draft.body, self._response.headers.get("x-attune-version"), self._question)
        self._answer = answer_of(self._client, answers, 0)

    async def close(self) -> None:
        """Stop the answer.

        >>> stream = await client.chat("Tell me a joke.", stream=True)
        >>> await stream.close()
        >>> [delta async for delta in stream]
        []
        """
        self._is_closed = True
        await self._response.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
