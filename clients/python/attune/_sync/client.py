# Written by make_sync.py from attune/_async/client.py.
# Change that file, then run `python clients/python/make_sync.py`.
"""The client: its connection, chat, events and health. Its other methods are in a file for each noun."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Literal, overload

from attune._address import Address
from attune._answer_data import answers_of
from attune._sync.answers import Answer, answer_of
from attune._sync.comparisons import ComparisonMethods
from attune._sync.connection import Connection
from attune._sync.conversations import ConversationMethods
from attune._sync.data_transfer import DataTransferMethods
from attune._sync.events import Events
from attune._sync.feedback import FeedbackMethods
from attune._sync.learner import LearnerMethods
from attune._sync.raters import RaterMethods
from attune._sync.streams import Stream
from attune._sync.versions import VersionMethods
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


class Client(
    FeedbackMethods,
    ComparisonMethods,
    ConversationMethods,
    DataTransferMethods,
    VersionMethods,
    LearnerMethods,
    RaterMethods,
):
    """A connection to an Attune service.

    `base_url` and `api_key` default to `ATTUNE_BASE_URL` and `ATTUNE_API_KEY`; without either, the address is port 8000
    of this machine. `rater` names the end user for whom you act; the key needs the scope `act-as`. `timeout` is the
    longest wait for the next byte, in seconds. `http` is an httpx client of your own. Keep one client for the whole
    program: it pools connections, and threads or tasks may share it.

    >>> with attune.Client() as client:
    ...     answer = client.chat("Hello!")
    ...     feedback = answer.rate("up")
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
        http: httpx.Client | None = None,
    ) -> None:
        self.address = Address.of(base_url, api_key, rater)
        self._connection = Connection(self.address, timeout, retry, http)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address.url!r})"

    @overload
    def chat(
        self,
        messages: Messages,
        *,
        model: str = ...,
        stream: Literal[False] = ...,
        conversation_id: str | None = ...,
        **sampling: Unpack[Sampling],
    ) -> Answer: ...

    @overload
    def chat(
        self,
        messages: Messages,
        *,
        model: str = ...,
        stream: Literal[True],
        conversation_id: str | None = ...,
        **sampling: Unpack[Sampling],
    ) -> Stream: ...

    def chat(
        self,
        messages: Messages,
        *,
        model: str = "attune",
        stream: bool = False,
        conversation_id: str | None = None,
        **sampling: Unpack[Sampling],
    ) -> Answer | Stream:
        """Ask a question: one sentence, or a whole conversation as messages.

        `model` is "attune" (the live version), "attune@N" (that version) or the name of a backend. `Sampling` describes
        the other settings. With `stream=True` the text arrives in deltas. Raises BadRequest, NotFound for an unknown
        model, Overloaded, and what every call raises.

        >>> answer = client.chat("Hello!", temperature=0, max_tokens=48)
        >>> answer.text
        'Hello to you!'
        >>> answer = client.chat([{"role": "user", "content": "Hello!"}], model="attune@0")
        >>> answer.version
        0
        """
        question = asked(messages, model, sampling)
        body = {"model": model, "messages": question.messages, "conversation_id": conversation_id, **question.settings}
        if stream:
            request = post("/v1/chat/completions", **body, stream=True, stream_options={"include_usage": True})
            return Stream(self, self._connection.respond(request, stream=True), question)
        response = self._connection.respond(post("/v1/chat/completions", **body))
        answers = answers_of(body_of(response), response.headers.get("x-attune-version"), question)
        return answer_of(self, answers, 0)

    def models(self) -> list[Model]:
        """The names that `chat(model=...)` accepts: "attune", its versions and the backends.

        >>> [model.id for model in client.models()]
        ['attune', 'attune@0', 'attune@1']
        """
        return [model for model in self._connection.pages(get("/v1/models"), Model)]

    def events(self, after: int | None = None) -> Events:
        """Follow the events after number `after`, or new ones only; restarts of the service do not end it.

        >>> with client.events(after=0) as events:
        ...     for event in events:
        ...         if event.kind == "version.live":
        ...             print(event.data["version"])
        ...             break
        1
        """
        return Events(self._connection, after)

    def health(self) -> Health:
        """Whether the service is alive and ready to chat. Raises only ServiceUnreachable and Timeout.

        >>> health = client.health()
        >>> health.alive, health.ready
        (True, True)
        """
        alive, _ = self._connection.status("/healthz")
        ready, detail = self._connection.status("/readyz")
        return Health(alive == 200, ready == 200, detail if isinstance(detail, dict) else {})

    def service_version(self) -> ServiceVersion:
        """The release of the service, and the schema of its store. Raises as every call does.

        >>> release = client.service_version()
        >>> release.version
        '0.1.0'
        """
        return read(ServiceVersion, self._connection.json(get("/v1/version")))

    def close(self) -> None:
        """Close the connections. `with` does it by itself.

        >>> client = attune.Client()
        >>> client.close()
        """
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
