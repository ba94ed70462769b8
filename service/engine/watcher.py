"""Polls the store for what others did: new events, a candidate that passed its gate, a change of traffic.

A look at the write-ahead log takes microseconds, so a change is read soon after it, and the rest of the time rarely.
"""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlite_utils import Database

from service.async_store import Records
from store.database import changes_mark
from store.events import last_event_seq
from store.traffic import Traffic, current_traffic
from store.versions import Version, passed_candidate

log = logging.getLogger(__name__)
LOOK_S = 0.02  # between two looks whether there was a change


@dataclass(frozen=True)
class Snapshot:
    """What one poll of the store found."""

    seq: int
    traffic: Traffic
    candidate: Version | None


def take_snapshot(db: Database) -> Snapshot:
    """Read what the watcher goes by: three small queries."""
    return Snapshot(last_event_seq(db), current_traffic(db), passed_candidate(db))


class Watcher:
    """Calls `act` with a snapshot of the store after each change, and every `poll_s` seconds.

    A poll that fails is logged.
    """

    def __init__(self, records: Records, act: Callable[[Snapshot], Awaitable[None]], poll_s: float) -> None:
        self._records, self._act, self._poll_s = records, act, poll_s
        self._task: asyncio.Task[None] | None = None
        self._mark: tuple[int, int] = (0, 0)

    def start(self) -> None:
        """Begin to poll."""
        self._task = asyncio.create_task(self._run(), name="watcher")

    async def stop(self) -> None:
        """Stop polling."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            self._mark = changes_mark(self._records.folder)  # before reading: what comes later is another change
            try:
                await self._act(await self._records.read(take_snapshot))
            except (sqlite3.Error, RuntimeError, LookupError, OSError, ValueError) as error:
                log.exception("a poll of the store failed: %s", error)
                await asyncio.sleep(1.0)
            await self._change()

    async def _change(self) -> None:
        """Wait for a change of the store, `poll_s` at most."""
        ends_at = time.monotonic() + self._poll_s
        while (left_s := ends_at - time.monotonic()) > 0:
            await asyncio.sleep(min(LOOK_S, left_s))
            if self._mark != changes_mark(self._records.folder):
                return
