"""Work on threads of a bounded pool. A caller holds its thread until that is free, also when it is cancelled."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from policy.errors import Interrupted
from service.errors import Overloaded

T = TypeVar("T")
LONG = 32_768  # characters: prompts with more have a thread of their own


async def run_shielded(
    pool: ThreadPoolExecutor, work: Callable[[], T], interrupt: Callable[[], None] | None = None
) -> T:
    """Return what `work` gives, on a thread of `pool`.

    A cancelled caller takes back work that has not begun. Else it calls `interrupt` and waits for the end: whoever
    gives back a ticket afterwards gives it back with the thread.
    """
    future: Future[T] = pool.submit(work)
    ended = asyncio.wrap_future(future)
    ended.add_done_callback(lambda done: done.cancelled() or done.exception())  # a caller who left asks for no result
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        if interrupt is not None:
            interrupt()
        if not future.cancel():
            await asyncio.wait([ended])
        raise


class PromptThreads:
    """Two threads that render prompts, so that a short conversation never waits for long ones."""

    def __init__(self) -> None:
        self._short, self._long = ThreadPoolExecutor(1, "prompts"), ThreadPoolExecutor(1, "long-prompts")
        self._open: set[threading.Event] = set()

    async def run(self, num_characters: int, work: Callable[[Callable[[], bool]], T]) -> T:
        """Return what `work(is_interrupted)` gives. Raises Overloaded when the service stops first."""
        pool, interrupted = self._long if num_characters > LONG else self._short, threading.Event()
        self._open.add(interrupted)
        try:
            return await run_shielded(pool, lambda: work(interrupted.is_set), interrupted.set)
        except Interrupted as error:
            raise Overloaded("the service is stopping", code="shutting_down", retry_after_s=5) from error
        finally:
            self._open.discard(interrupted)

    def close(self) -> None:
        """Interrupt all work and take no more."""
        for interrupted in self._open:
            interrupted.set()
        for pool in (self._short, self._long):
            pool.shutdown(wait=False, cancel_futures=True)
