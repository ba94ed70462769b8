"""Whether the service can answer: a version is in memory, and the store takes and gives rows."""

import asyncio
import shutil
import sqlite3
import time

from service.async_store import Records
from store.health import read_mark, read_samples, write_mark

FRESH_S = 1.0  # askers within it share one look at the store
LIMIT_S = 5.0  # a store that takes longer counts as failing
LEAST_FREE_MIB = 16


class StoreCheck:
    """Looks at the store for whoever asks, at most once in `FRESH_S`, since each look writes to the disk."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._lock = asyncio.Lock()
        self._reason, self._looked_at = "", -FRESH_S

    async def reason(self) -> str:
        """Return why the store fails, "" where it works."""
        async with self._lock:
            if time.monotonic() - self._looked_at >= FRESH_S:
                self._reason = await self._look()
                self._looked_at = time.monotonic()
            return self._reason

    async def _look(self) -> str:
        if self._records.damage:
            return f"the database is damaged: {self._records.damage}"
        try:
            free = shutil.disk_usage(self._records.folder).free / 2**20
            if free < LEAST_FREE_MIB:
                return f"only {free:.1f} MiB are free on the data folder's disk"
            return await asyncio.wait_for(self._write_and_read(), LIMIT_S)
        except TimeoutError:
            return f"the store did not answer within {LIMIT_S:g} s"
        except (sqlite3.Error, RuntimeError, OSError) as error:
            return f"the store fails: {error}"

    async def _write_and_read(self) -> str:
        written = await self._records.write(write_mark)
        if await self._records.read(read_mark) != written:
            return "the store does not give back what was written"
        await self._records.read(read_samples)
        return ""
