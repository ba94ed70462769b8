"""`track` adds feedback methods to the answers of the openai package."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from attune._async.client import AsyncClient
    from attune._sync.client import Client

C = TypeVar("C")
METHODS = ("rate", "score", "correct")


def track(openai_client: C, *, rater: str | None = None) -> C:
    """Add `rate`, `score` and `correct` to what an openai client's `chat.completions.create` returns.

    This changes the client and returns it. Its address must be an Attune service; feedback uses the same address and
    key. With `openai.AsyncOpenAI` the three methods are awaited. A stream has them from its first chunk on. Raises
    TypeError for anything but an openai client.

    >>> import openai
    >>> assistant = attune.track(openai.OpenAI(base_url=client.address.url + "/v1", api_key="none"))
    >>> answer = assistant.chat.completions.create(model="attune", messages=[{"role": "user", "content": "Hello!"}])
    >>> answer.rate("up").thumb
    'up'
    """
    try:
        completions = openai_client.chat.completions  # type: ignore[attr-defined]
        create = completions.create
        base_url, api_key = str(openai_client.base_url), openai_client.api_key  # type: ignore[attr-defined]
    except AttributeError:
        raise TypeError(
            f"track() takes an openai.OpenAI or openai.AsyncOpenAI client, not {type(openai_client).__name__}."
        ) from None
    key = api_key if isinstance(api_key, str) and api_key.startswith("at-") else None
    completions.create = _tracked_create(create, _client_for(create, base_url, key, rater))
    return openai_client


def _client_for(
    create: Callable[..., Any], base_url: str, api_key: str | None, rater: str | None
) -> Client | AsyncClient:
    from attune._async.client import AsyncClient
    from attune._sync.client import Client

    kind = AsyncClient if inspect.iscoroutinefunction(inspect.unwrap(create)) else Client
    return kind(base_url, api_key, rater=rater)


def _tracked_create(create: Callable[..., Any], client: Client | AsyncClient) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(inspect.unwrap(create)):

        @functools.wraps(create)
        async def create_async(*args: Any, **kwargs: Any) -> Any:
            return _tracked(await create(*args, **kwargs), client)

        return create_async

    @functools.wraps(create)
    def create_sync(*args: Any, **kwargs: Any) -> Any:
        return _tracked(create(*args, **kwargs), client)

    return create_sync


def _tracked(answer: Any, client: Client | AsyncClient) -> Any:
    if hasattr(answer, "choices"):
        answer.__class__ = _with_methods(type(answer), client)  # type: ignore[arg-type]  # mypy holds no class to be hashable
        return answer
    return TrackedStream(answer, client)


@functools.lru_cache(maxsize=64)
def _with_methods(kind: type, client: Client | AsyncClient) -> type:
    """Return a subclass of openai's answer with our methods; its JSON is unchanged."""

    def method(name: str) -> Callable[..., Any]:
        give = getattr(client, name)

        @functools.wraps(give)
        def give_feedback(self: Any, *args: Any, **kwargs: Any) -> Any:
            return give(self.id, *args, **kwargs)

        return give_feedback

    return type(kind.__name__, (kind,), {"__module__": kind.__module__, **{name: method(name) for name in METHODS}})


class TrackedStream:
    """openai's stream, which also keeps the answer's id. Everything else is passed on."""

    def __init__(self, stream: Any, client: Client | AsyncClient) -> None:
        self._stream = stream
        self._client = client
        self.id = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[Any]:
        for chunk in self._stream:
            self.id = chunk.id
            yield chunk

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for chunk in self._stream:
            self.id = chunk.id
            yield chunk

    def __enter__(self) -> TrackedStream:
        self._stream.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._stream.__exit__(*raised)

    async def __aenter__(self) -> TrackedStream:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._stream.__aexit__(*raised)

    def rate(self, *args: Any, **kwargs: Any) -> Any:
        """As `Answer.rate`."""
        return self._client.rate(self._known_id(), *args, **kwargs)

    def score(self, *args: Any, **kwargs: Any) -> Any:
        """As `Answer.score`."""
        return self._client.score(self._known_id(), *args, **kwargs)

    def correct(self, *args: Any, **kwargs: Any) -> Any:
        """As `Answer.correct`."""
        return self._client.correct(self._known_id(), *args, **kwargs)

    def _known_id(self) -> str:
        if not self.id:
            raise ValueError("Nothing has arrived yet: read the stream before you rate it.")
        return self.id
