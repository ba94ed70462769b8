"""Fixtures: the fake service, and a client that is sync or async, so that each test runs with both."""

import asyncio
import inspect
from collections.abc import Generator, Iterator
from typing import Any

import pytest

import attune
from tests.sdk.fake_service import FakeService, fake_service

QUICK = attune.Retry(times=2, first_s=0.01, longest_s=0.02, patience_s=2.0)


@pytest.fixture(scope="session")
def one_fake() -> Generator[FakeService, None, None]:
    with fake_service() as service:
        yield service


@pytest.fixture
def fake(one_fake: FakeService, monkeypatch: pytest.MonkeyPatch) -> FakeService:
    """The fake service with fresh state, and the environment variables that name it."""
    one_fake.reset()
    monkeypatch.setenv("ATTUNE_BASE_URL", one_fake.url)
    monkeypatch.delenv("ATTUNE_API_KEY", raising=False)
    return one_fake


class Either:
    """Calls a sync or an async client in one way: it awaits and iterates results as their kind needs it."""

    def __init__(self, is_async: bool) -> None:
        self.is_async = is_async
        self.loop = asyncio.new_event_loop()
        self.clients: list[Any] = []

    def client(self, *args: Any, retry: attune.Retry = QUICK, **kwargs: Any) -> Any:
        """Return a new client of this kind."""
        kind = attune.AsyncClient if self.is_async else attune.Client
        self.clients.append(kind(*args, retry=retry, **kwargs))
        return self.clients[-1]

    def get(self, result: Any) -> Any:
        """Return the result, awaited if it is awaitable; generators become lists."""
        if inspect.isawaitable(result):
            return self.loop.run_until_complete(_awaited(result))
        if inspect.isasyncgen(result):
            return self.loop.run_until_complete(_listed(result))
        return list(result) if inspect.isgenerator(result) else result

    def take(self, iterator: Any, count: int | None = None) -> list[Any]:
        """Return the next `count` items of a stream or of events, all items without a count."""
        found: list[Any] = []
        while count is None or len(found) < count:
            try:
                found.append(self.get(anext(iterator)) if self.is_async else next(iterator))
            except (StopIteration, StopAsyncIteration):
                break
        return found

    def close(self) -> None:
        for client in self.clients:
            self.get(client.close())
        self.loop.close()


async def _awaited(result: Any) -> Any:
    return await result


async def _listed(result: Any) -> list[Any]:
    return [item async for item in result]


@pytest.fixture(params=["sync", "async"])
def either(request: pytest.FixtureRequest, fake: FakeService) -> Iterator[Either]:
    made = Either(request.param == "async")
    yield made
    made.close()


@pytest.fixture
def client(either: Either) -> Any:
    return either.client()
