"""Methods that export feedback to a file and import it from one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING

from attune._files import CHUNK_BYTES, content_type_of, sink_of
from attune._requests import Request, get
from attune._responses import body_of, faults_of
from attune._types.data_transfer import ExportFormat, Imported, ImportFormat, Progress
from attune._types.reading import read

if TYPE_CHECKING:
    from attune._async.connection import AsyncConnection


class AsyncDataTransferMethods:
    """The methods of `AsyncClient` on exports and imports."""

    _connection: AsyncConnection

    async def export_file(
        self,
        target: str | PathLike[str] | IO[bytes],
        format: ExportFormat = "preference",
        *,
        progress: Progress | None = None,
    ) -> int:
        """Write the feedback as JSON Lines; return the number of lines. Needs an admin key.

        TRL reads all formats but "raw", which holds every row. `target` is a path or a file open for bytes; a path gets
        the whole file or none. `progress(done, total)` is called with bytes; the total may be None.

        >>> await client.export_file("pairs.jsonl", "preference")
        2
        """
        response = await self._connection.respond(get("/v1/export", format=format), stream=True)
        total = response.headers.get("content-length")
        try:
            with sink_of(target) as file, faults_of(self._connection.address):
                async for received in response.aiter_bytes():
                    file.write(received)
                    if progress:
                        progress(file.done, int(total) if total else None)
                file.keep()
                return file.lines
        finally:
            await response.aclose()

    async def import_file(
        self, path: str | PathLike[str], format: ImportFormat | None = None, *, progress: Progress | None = None
    ) -> Imported:
        """Import preferences, ratings or demonstrations from a file. Needs an admin key.

        It reads what `export_file` writes and Open WebUI's feedback. Without `format` the service finds it in the file.
        `progress(done, total)` is called with bytes.

        >>> await client.export_file("pairs.jsonl")
        2
        >>> imported = await client.import_file("pairs.jsonl", progress=lambda done, total: print(done == total))
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
        response = await self._connection.respond(request, content=_chunks(Path(path), progress))
        return read(Imported, body_of(response) or {})


async def _chunks(path: Path, progress: Progress | None) -> AsyncIterator[bytes]:
    done, total = 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            done += len(chunk)
            if progress:
                progress(done, total)
