"""Files on their way to and from the service."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

CHUNK_BYTES = 64 * 1024


def content_type_of(path: Path) -> str:
    """Return what an import says that it sends: one JSON document for `.json`, else JSON Lines."""
    return "application/json" if path.suffix.lower() == ".json" else "application/x-ndjson"


class Sink:
    """Somewhere that received bytes go, counted."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.done = 0  # bytes
        self.lines = 0

    def __enter__(self) -> Self:
        return self

    def write(self, received: bytes) -> None:
        """Add some bytes."""
        self._file.write(received)
        self.done += len(received)
        self.lines += received.count(b"\n")

    def keep(self) -> None:
        """All has come."""
        self._file.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class PartFile(Sink):
    """A file that appears whole or not at all: written beside its place, and moved there by `keep`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        super().__init__(self._part.open("wb"))

    def keep(self) -> None:
        """Put the finished file in its place."""
        self._file.close()
        os.replace(self._part, self._path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)


def sink_of(target: str | PathLike[str] | IO[bytes]) -> Sink:
    """Return where an export goes: a path, or a file that is open for bytes already."""
    return PartFile(Path(target)) if isinstance(target, (str, PathLike)) else Sink(target)
