"""Group commit: one thread does all writes, and waiting writes share one transaction and one fsync."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from sqlite_utils import Database

from store.database import connect, transaction
from store.errors import WriterClosed

T = TypeVar("T")
_Job = tuple[Callable[[Database], Any], "Future[Any]"]
MOST_PER_COMMIT = 256


class Writer:
    """The writing thread of a process. `submit` returns a future that is done when its write is on disk."""

    def __init__(self, folder: Path) -> None:
        self._db = connect(folder)
        self._jobs: queue.Queue[_Job | None] = queue.Queue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, write: Callable[[Database], T]) -> "Future[T]":
        """Queue `write(db)`, which runs in a savepoint of its own.

        The future has its result after commit and fsync, or its exception, and then nothing of it is written. Raises
        WriterClosed after `close`.
        """
        if self._closed.is_set():
            raise WriterClosed("the store's writer is closed: the service is stopping")
        future: Future[T] = Future()
        self._jobs.put((write, future))
        return future

    def close(self, timeout_s: float = 10.0) -> None:
        """Write all that is queued, then stop."""
        if not self._closed.is_set():
            self._closed.set()
            self._jobs.put(None)
            self._thread.join(timeout_s)
            self._db.close()

    def _work(self) -> None:
        while True:
            batch, last = self._next_batch()
            if batch:
                self._commit(batch)
            if last:
                return

    def _next_batch(self) -> tuple[list[_Job], bool]:
        job = self._jobs.get()
        batch: list[_Job] = []
        while job is not None:
            batch.append(job)
            if len(batch) >= MOST_PER_COMMIT:
                return batch, False
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _commit(self, batch: list[_Job]) -> None:
        done: list[tuple[Future[Any], Any]] = []
        try:
            with transaction(self._db) as db:
                for write, future in batch:
                    if not future.set_running_or_notify_cancel():
                        continue
                    try:
                        with db.atomic():
                            done.append((future, write(db)))
                    except Exception as error:  # an error of one caller must not undo the others' writes
                        future.set_exception(error)
        except Exception as error:  # begin or commit failed (disk full, locked, ...), so no write is done
            for _, future in batch:
                if future.running() or (not future.done() and future.set_running_or_notify_cancel()):
                    future.set_exception(error)
            return
        for future, result in done:
            future.set_result(result)
