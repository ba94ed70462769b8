# Written by make_sync.py from attune/_async/data_transfer.py.
# Change that file, then run `python clients/python/make_sync.py`.
"""Methods that export feedback to a file and import it from one."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING

from attune._files import CHUNK_BYTES, content_type_of, sink_of
from attune._requests import Request, get
from attune._responses import body_of, faults_of
from attune._types.data_transfer import ExportFormat, Imported, ImportFormat, Progress
from attune._types.reading import read

if TYPE_CHECKING:
    from attune._sync.connection import Connection


class DataTransferMethods:
    """The methods of `Client` on exports and imports."""

    _connection: Connection

    def export_file(
        self,
        target: str | PathLike[str] | IO[bytes],
        format: ExportFormat = "preference",
        *,
        progress: Progress | None = None,
    ) -> int:
        """Write the feedback as JSON Lines; return the number of lines. Needs an admin key.

        TRL reads all formats but "raw", which holds every row. `target` is a path or a file open for bytes; a path gets
        the whole file or none. `progress(done, total)` is called with bytes; the total may be None.

        >>> client.export_file("pairs.jsonl", "preference")
        2
        """
        response = self._connection.respond(get("/v1/export", format=format), stream=True)
        total = response.headers.get("content-length")
        try:
            with sink_of(target) as file, faults_of(self._connection.address):
                for received in response.iter_bytes():
                    file.write(received)
                    if progress:
                        progress(file.done, int(total) if total else None)
                file.keep()
                return file.lines
        finally:
            response.close()

    def import_file(
        self, path: str | PathLike[str], format: ImportFormat | None = None, *, progress: Progress | None = None
    ) -> Imported:
        """Import preferences, ratings or demonstrations from a file. Needs an admin key.

        It reads what `export_file` writes and Open WebUI's feedback. Without `format` the service finds it in the file.
        `progress(done, total)` is called with bytes.

        >>> client.export_file("pairs.jsonl")
        2
        >>> imported = client.import_file("pairs.jsonl", progress=lambda done, total: print(done == total))
        True
        >>> imported.imported
        2
        """
        request = Request(
            "POST",
            "/v1/import",
            {"format": format},
            headers={"Content-Type": content_type_of(Path(path))},
            timeout_s=600.0,
        )
        response = self._connection.respond(request, content=_chunks(Path(path), progress))
        return read(Imported, body_of(response) or {})


def _chunks(path: Path, progress: Progress | None) -> Iterator[bytes]:
    done, total = 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            done += len(chunk)
            if progress:
                progress(done, total)
