"""Server-sent events: the response that sends them, and the encoding of events and of an answer's chunks."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class EventStream(StreamingResponse):
    """A stream of server-sent events that lasts at most `limit_s`.

    It calls `on_end` whenever it ends, even before its first byte.
    """

    def __init__(
        self,
        content: AsyncIterator[bytes],
        *,
        on_end: Callable[[], None],
        headers: Mapping[str, str],
        limit_s: float | None = None,
    ) -> None:
        super().__init__(
            content,
            headers={**headers, "Cache-Control": "no-store", "X-Accel-Buffering": "no"},
            media_type="text/event-stream",
        )
        self._on_end, self._limit_s = on_end, limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with contextlib.suppress(TimeoutError):  # a reader that reads nothing for so long is gone
                async with asyncio.timeout(self._limit_s):
                    await super().__call__(scope, receive, send)
        finally:
            self._on_end()


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def event(data: Any) -> bytes:
    """Return one event with JSON data."""
    return b"data: " + _encode(data).encode() + b"\n\n"


class ChunkWriter:
    """Writes the chunks of one answer. Their common first fields are encoded once, since each token makes a chunk."""

    def __init__(self, head: Mapping[str, Any]) -> None:
        self._head = b"data: " + _encode(head)[:-1].encode() + b',"choices":['

    def chunk(self, *choices: Mapping[str, Any]) -> bytes:
        """Return the event of one chunk."""
        return self._head + ",".join(map(_encode, choices)).encode() + b"]}\n\n"
