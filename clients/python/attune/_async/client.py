"""The client: its connection, chat, events and health. Its other methods are in a file for each noun."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Literal, overload

from attune._address import Address
from attune._answer_data import answers_of
from attune._async.answers import AsyncAnswer, answer_of
from attune._async.comparisons import AsyncComparisonMethods
from attune._async.connection import AsyncConnection
from attune._async.conversations import AsyncConversationMethods
from attune._async.data_transfer import AsyncDataTransferMethods
from attune._async.events import AsyncEvents
from attune._async.feedback import AsyncFeedbackMethods
from attune._async.learner import AsyncLearnerMethods
from attune._async.raters import AsyncRaterMethods
from attune._async.streams import AsyncStream
from attune._async.versions import AsyncVersionMethods
from attune._questions import Messages, asked
from attune._requests import get, post
from attune._responses import body_of
from attune._retry import Retry
from attune._types.chat import Model, Sampling
from attune._types.monitoring import Health, ServiceVersion
from attune._types.reading import read

if TYPE_CHECKING:
    import httpx
    from typing_extensions import Self, Unpack


class AsyncClient(
    AsyncFeedbackMethods,
    AsyncComparisonMethods,
    AsyncConversationMethods,
    AsyncDataTransferMethods,
    AsyncVersionMethods,
    AsyncLearnerMethods,
    AsyncRaterMethods,
):
    """A connection to an Attune service.

    `base_url` and `api_key` default to `ATTUNE_BASE_URL` and `ATTUNE_API_KEY`; without either, the address is port 8000
    of this machine. `rater` names the end user for whom you act; the key needs the scope `act-as`. `timeout` is the
    longest wait for the next byte, in seconds. `http` is an httpx client of your own. Keep one client for the whole
    program: it pools connections, and threads or tasks may share it.

    >>> async with attune.AsyncClient() as client:
    ...     answer = await client.chat("Hello!")
    ...     feedback = await answer.rate("up")
    ...     print(answer.text)
    Hello to you!
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        rater: str | None = None,
        timeout: float = 120.0,
        retry: Retry = Retry(),
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self.address = Address.of(base_url, api_key, rater)
        self._connection = AsyncConnection(self.address, timeout, retry, http)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address.url!r})"

    @overload
    async def chat(
        self,
        messages: Messages,
        *,
        model: str = ...,
        stream: Literal[False] = ...,
        conversation_id: str | None = ...,
        **sampling: Unpack[Sampling],
    ) -> AsyncAnswer: ...

    @overload
    async def chat(
        self,
        messages: Messages,
        *,
        model: str = ...,
        stream: Literal[True],
        conversation_id: str | None = ...,
        **sampling: Unpack[Sampling],
    ) -> AsyncStream: ...

    async def chat(
        self,
        messages: Messages,
        *,
        model: str = "attune",
        stream: bool = False,
        conversation_id: str | None = None,
        **sampling: Unpack[Sampling],
    ) -> AsyncAnswer | AsyncStream:
        """Ask a question: one sentence, or a whole conversation as messages.

        `model` is "attune" (the live version), "attune@N" (that version) or the name of a backend. `Sampling` describes
        the other settings. With `stream=True` the text arrives in deltas. Raises BadRequest, NotFound for an unknown
        model, Overloaded, and what every call raises.

        >>> answer = await client.chat("Hello!", temperature=0, max_tokens=48)
        >>> answer.text
        'Hello to you!'
        >>> answer = await client.chat([{"role": "user", "content": "Hello!"}], model="attune@0")
        >>> answer.version
        0
        """
        question = asked(messages, model, sampling)
        body = {"model": model, "messages": question.messages, "conversation_id": conversation_id, **question.settings}
        if stream:
            request = post("/v1/chat/completions", **body, stream=True, stream_options={"include_usage": True})
            return AsyncStream(self, await self._connection.respond(request, stream=True), question)
        response = await self._connection.respond(post("/v1/chat/completions", **body))
        answers = answers_of(body_of(response), response.headers.get("x-attune-version"), question)
        return answer_of(self, answers, 0)

    async def models(self) -> list[Model]:
        """The names that `chat(model=...)` accepts: "attune", its versions and the backends.

        >>> [model.id for model in await client.models()]
        ['attune', 'attune@0', 'attune@1']
        """
        return [model async for model in self._connection.pages(get("/v1/models"), Model)]

    def events(self, after: int | None = None) -> AsyncEvents:
        """Follow the events after number `after`, or new ones only; restarts of the service do not end it.

        >>> async with client.events(after=0) as events:
        ...     async for event in events:
        ...         if event.kind == "version.live":
        ...             print(event.data["version"])
        ...             break
        1
        """
        return AsyncEvents(self._connection, after)

    async def health(self) -> Health:
        """Whether the service is alive and ready to chat. Raises only ServiceUnreachable and Timeout.

        >>> health = await client.health()
        >>> health.alive, health.ready
        (True, True)
        """
        alive, _ = await self._connection.status("/healthz")
        ready, detail = await self._connection.status("/readyz")
        return Health(alive == 200, ready == 200, detail if isinstance(detail, dict) else {})

    async def service_version(self) -> ServiceVersion:
        """The release of the service, and the schema of its store. Raises as every call does.

        >>> release = await client.service_version()
        >>> release.version
        '0.1.0'
        """
        return read(ServiceVersion, await self._connection.json(get("/v1/version")))

    async def close(self) -> None:
        """Close the connections. `async with` does it by itself.

        >>> client = attune.AsyncClient()
        >>> await client.close()
        """
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
