"""New events, read from the store once for all streams that follow them, and how many streams a key may have."""

import asyncio
import logging
import sqlite3
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable

from service.errors import TooManyRequests
from store.errors import StoreError
from store.events import Event

log = logging.getLogger(__name__)
BATCH = 500
KEPT = 1000
CATCHING_UP = 2  # streams that may read older events at once, so that readers of the store are left for others

ReadEvents = Callable[[int, int], Awaitable[list[Event]]]


class EventFeed:
    """The newest events in memory, and what waits for more of them."""

    def __init__(self, read: ReadEvents, latest: int, kept: int = KEPT) -> None:
        """`read(after, limit)` returns events from the store; `latest` is the newest one's sequence number."""
        self.latest = latest
        self.closed = False
        self._read = read
        self._recent: deque[Event] = deque(maxlen=kept)
        self._floor = latest  # all events after this one are in `_recent`
        self._published = latest
        self._reading: asyncio.Task[None] | None = None
        self._waiters: set[asyncio.Future[bool]] = set()
        self._catching_up = asyncio.Semaphore(CATCHING_UP)

    def publish(self, seq: int) -> None:
        """Read the events up to this sequence number, and hand them to all followers."""
        self._published = max(self._published, seq)
        if self._published > self.latest and self._reading is None and not self.closed:
            self._reading = asyncio.create_task(self._read_new(), name="event feed")

    def forget(self) -> None:
        """Drop the events in memory: a person was erased, and the store has them without that person's id."""
        self._recent.clear()
        self._floor = self.latest

    def close(self) -> None:
        """Wake all followers for the last time: the service stops."""
        self.closed = True
        self._wake()

    async def follow(self, after: int, quiet_s: float) -> AsyncIterator[list[Event]]:
        """Yield the events after `after` as they come, and an empty list after `quiet_s` seconds without any.

        It ends when the service stops, and for a reader so slow that what it lacks is not in memory any more.
        """
        if after > self.latest and not await self._read(after - 1, 1):
            after = self.latest  # the number of an event of another database; else it is in the store and comes soon
        while after < self._floor and not self.closed:
            async with self._catching_up:
                found = await self._read(after, BATCH)
            after = found[-1].seq if found else self._floor
            yield found
        while not self.closed and after >= self._floor:
            if after < self.latest:
                found, after = self._after(after), self.latest
                yield found
            elif not await self._has_changed(quiet_s) and not self.closed:
                yield []

    def _after(self, seq: int) -> list[Event]:
        found = []
        for event in reversed(self._recent):
            if event.seq <= seq:
                break
            found.append(event)
        return found[::-1]

    async def _has_changed(self, timeout_s: float) -> bool:
        """Wait for a change. Return False when there is none in time."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiters.add(waiter)
        timer = loop.call_later(timeout_s, _settle, waiter, False)  # far cheaper than wait_for, and there are many
        try:
            return await waiter
        finally:
            timer.cancel()
            self._waiters.discard(waiter)

    async def _read_new(self) -> None:
        try:
            while self.latest < self._published:
                wanted = self._published
                found = await self._read(self.latest, BATCH)
                for event in found:
                    if len(self._recent) == self._recent.maxlen:
                        self._floor = self._recent[0].seq
                    self._recent.append(event)
                # after fewer than asked for there is nothing left: rows may have been erased meanwhile
                self.latest = found[-1].seq if len(found) == BATCH else max(wanted, found[-1].seq if found else 0)
                self._wake()
        except (sqlite3.Error, StoreError, RuntimeError) as error:
            log.error("new events could not be read; the next poll tries again: %s", error)
        finally:
            self._reading = None

    def _wake(self) -> None:
        for waiter in self._waiters:
            _settle(waiter, True)


def _settle(waiter: "asyncio.Future[bool]", has_changed: bool) -> None:
    if not waiter.done():
        waiter.set_result(has_changed)


class StreamCounts:
    """Counts the streams of each key. A key may have `limit` of them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.open: Counter[str] = Counter()

    def take(self, key_id: str) -> None:
        """Count one more stream. Raises TooManyRequests."""
        if self.open[key_id] >= self.limit:
            raise TooManyRequests(
                f"this key has {self.limit} event streams open, as many as it may (limits.event_streams)",
                code="too_many_streams",
                retry_after_s=5,
            )
        self.open[key_id] += 1

    def give_back(self, key_id: str) -> None:
        """Count one stream less."""
        self.open[key_id] -= 1
        if self.open[key_id] <= 0:
            del self.open[key_id]
