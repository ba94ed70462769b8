"""Files on their way to and from the service."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import IO

CHUNK_BYTES = 64 * 1024


def content_type_of(path: Path) -> str:
    """Return what an import says that it sends: one JSON document for `.json`, else JSON Lines."""
    return "application/json" if path.suffix.lower() == ".json" else "application/x-ndjson"


class PartFile:
    """A file that appears whole or not at all: written beside its place, and moved there by `keep`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self.done = 0  # bytes
        self.lines = 0

    def __enter__(self) -> PartFile:
        self._file: IO[bytes] = self._part.open("wb")
        return self

    def write(self, received: bytes) -> None:
        """Add some bytes."""
        self._file.write(received)
        self.done += len(received)
        self.lines += received.count(b"\n")

    def keep(self) -> None:
        """Put the finished file in its place."""
        self._file.close()
        os.replace(self._part, self._path)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)
