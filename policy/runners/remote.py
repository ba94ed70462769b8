"""For runners on other machines: an event loop in a thread, retries with jitter, and a circuit breaker."""

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import httpx

from policy.errors import RunnerFailed

T = TypeVar("T")


class Breaker:
    """A circuit breaker: after `limit` failures in a row it refuses all requests for `rest_s` seconds.

    Then it admits one try, and refuses all others during the try, for at most another `rest_s`. A try may be several
    requests of one name.
    """

    def __init__(
        self, name: str, limit: int = 5, rest_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._limit, self._rest_s, self._clock = name, limit, rest_s, clock
        self._failures, self._open_until, self._trying = 0, 0.0, ""

    def check(self, name: str) -> None:
        """Raise RunnerFailed while the circuit is open. After its rest the first name is admitted as the try."""
        if self._failures < self._limit or (name and name == self._trying):
            return
        left = self._open_until - self._clock()
        if left > 0:
            raise RunnerFailed(
                f"{self._name} failed {self._failures} times in a row; it is asked again in {left:.0f} s"
            )
        self._open_until, self._trying = self._clock() + self._rest_s, name

    def succeeded(self) -> None:
        """Record a response, which may be a refusal: the circuit closes."""
        self._failures, self._open_until, self._trying = 0, 0.0, ""

    def left_off(self, name: str) -> None:
        """Record that requests of this name ended without a result: if they were the try, the next caller has it."""
        if name and name == self._trying:
            self._open_until, self._trying = self._clock(), ""

    def failed(self) -> None:
        """Record a failure; the circuit opens at the limit and at each further failure."""
        self._failures, self._trying = self._failures + 1, ""
        if self._failures >= self._limit:
            self._open_until = self._clock() + self._rest_s


class LoopThread:
    """An asyncio event loop in a daemon thread."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run a coroutine on the loop; any thread may cancel its future."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """End the loop and cancel its open tasks."""

        async def end() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._loop.stop()

        asyncio.run_coroutine_threadsafe(end(), self._loop)
        self._thread.join(5.0)


async def with_retries(call: Callable[[], Awaitable[T]], *, tries: int = 3, base_s: float = 0.2) -> T:
    """Await `call()`; repeat it after a connection fault or a 5xx, with a growing, jittered pause."""
    for attempt in range(tries):
        try:
            return await call()
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            refused = isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500
            if refused or attempt == tries - 1:
                raise
            await asyncio.sleep(jittered(attempt, base_s))
    raise AssertionError("unreachable")


def jittered(attempt: int, base_s: float = 0.2) -> float:
    """Return the seconds to wait after attempt number `attempt` (from 0) fails; jitter spreads simultaneous callers."""
    return random.uniform(0.5, 1.0) * base_s * 2**attempt


def readable(name: str, error: Exception) -> str:
    """Return one sentence about an error of a backend."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"{name} answered {error.response.status_code}: {error.response.text.strip()[:200]}"
    if isinstance(error, httpx.TimeoutException):
        return f"{name} did not answer in time"
    if isinstance(error, httpx.TransportError):
        return f"{name} cannot be reached ({type(error).__name__})"
    if isinstance(error, (LookupError, TypeError, AttributeError)):
        return f"{name} sent something of another form ({type(error).__name__}: {str(error)[:200]})"
    return f"{name} failed: {str(error)[:200]}"
