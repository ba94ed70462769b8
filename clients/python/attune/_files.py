"""Files that are sent to the service or received from it."""

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
    """Return the content type of an import: one JSON document for `.json`, else JSON Lines."""
    return "application/json" if path.suffix.lower() == ".json" else "application/x-ndjson"


class Sink:
    """Writes received bytes to a file and counts them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.done = 0  # bytes
        self.lines = 0

    def __enter__(self) -> Self:
        return self

    def write(self, received: bytes) -> None:
        """Write bytes."""
        self._file.write(received)
        self.done += len(received)
        self.lines += received.count(b"\n")

    def keep(self) -> None:
        """Finish: every byte has arrived."""
        self._file.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class PartFile(Sink):
    """A file that appears whole or not at all: written as `NAME.part`, and renamed by `keep`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        super().__init__(self._part.open("wb"))

    def keep(self) -> None:
        """Rename the finished file to its name."""
        self._file.close()
        os.replace(self._part, self._path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)


def sink_of(target: str | PathLike[str] | IO[bytes]) -> Sink:
    """Return the sink for an export to a path, or to a file open for bytes."""
    return PartFile(Path(target)) if isinstance(target, (str, PathLike)) else Sink(target)
