"""The store for the event loop: reads run on a few threads, writes through the one group-committing writer."""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlite_utils import Database

from store.database import connect
from store.writer import Writer

T = TypeVar("T")
READERS = 4
DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

log = logging.getLogger(__name__)


class Records:
    """Reads and writes the store without blocking the event loop.

    `damage` is what SQLite reports of a malformed database, once anything has met it, until the next start.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.damage = folder, ""
        self._writer = Writer(folder)
        self._connections: list[Database] = []
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(READERS, "store-reader", initializer=self._connect)

    async def read(self, query: Callable[[Database], T]) -> T:
        """Return `query(db)`, run on a reading thread."""

        def answer() -> T:
            try:
                return query(self._local.db)
            except sqlite3.DatabaseError as error:
                self._note_damage(error)
                raise

        return await asyncio.get_running_loop().run_in_executor(self._pool, answer)

    async def write(self, change: Callable[[Database], T]) -> T:
        """Return `change(db)` once it is on disk. A caller that is cancelled meanwhile does not undo the write."""
        return await asyncio.shield(asyncio.wrap_future(self.submit(change)))

    def submit(self, change: Callable[[Database], T]) -> "Future[T]":
        """Queue a write without waiting for it. Raises WriterClosed once the service stops."""
        future = self._writer.submit(change)
        future.add_done_callback(lambda done: None if done.cancelled() else self._note_damage(done.exception()))
        return future

    def close(self) -> None:
        """Finish queued writes and close all connections."""
        self._writer.close()
        self._pool.shutdown()
        for db in self._connections:
            db.close()

    def _note_damage(self, error: BaseException | None) -> None:
        if isinstance(error, sqlite3.DatabaseError) and getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE:
            if not self.damage:
                log.error("the database in %s is damaged: %s; attune doctor looks at it", self.folder, error)
            self.damage = str(error)

    def _connect(self) -> None:
        self._local.db = connect(self.folder)
        self._connections.append(self._local.db)
