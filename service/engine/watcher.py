"""Looks at the store for what others did: events to tell, a candidate that passed its gate, traffic that was moved
elsewhere.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlite_utils import Database

from service.records import Records
from store.events import last_event_seq
from store.traffic import Traffic, current_traffic
from store.versions import Version, passed_candidate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seen:
    """The store at one look."""

    seq: int
    traffic: Traffic
    candidate: Version | None


def look(db: Database) -> Seen:
    """Read what the watcher goes by: three small queries."""
    return Seen(last_event_seq(db), current_traffic(db), passed_candidate(db))


class Watcher:
    """Calls `act` with each look at the store, every `poll_s` seconds; one that fails is logged, and the next comes as
    usual.
    """

    def __init__(self, records: Records, act: Callable[[Seen], Awaitable[None]], poll_s: float) -> None:
        self._records, self._act, self._poll_s = records, act, poll_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="watcher")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await self._act(await self._records.read(look))
            except (sqlite3.Error, RuntimeError, LookupError, OSError, ValueError) as error:
                log.exception("a look at the store failed: %s", error)
                await asyncio.sleep(1.0)
            await asyncio.sleep(self._poll_s)
