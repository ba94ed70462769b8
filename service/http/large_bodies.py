"""Large bodies of one key are read and parsed one after another, with a rest behind each.

Parsing a body of some MB keeps the event loop from everything else for tens of milliseconds. Six at once would be a
quarter of a second; so they are six times a moment, and other requests go on between them. A key waits for its own
bodies alone: else whoever announces many would keep everybody's waiting.
"""

import asyncio
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth import Caller
from service.limits import IMPORT_PATH

LARGE = 256 * 2**10  # bytes
REST_S = 0.05 / 2**20  # seconds for each byte: about five times what parsing takes


class Turns:
    """When each large body may be parsed: a fifth of the time is one key's at most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._free_at: dict[str, float] = {}  # by key

    def wait_s(self, num_bytes: int, key_id: str) -> float:
        """Take the key's next turn for a body; return the seconds until it comes."""
        at = self._clock()
        begins = max(at, self._free_at.get(key_id, at))
        self._free_at[key_id] = begins + num_bytes * REST_S
        return begins - at


class LargeBodies:
    """ASGI middleware that reads a large body in its turn, and hands on its end in its turn again.

    So a body that waits is not in memory, and bodies that arrive slowly do not end together. An import streams, and has
    no turn.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app, self._beginnings, self._ends = app, Turns(), Turns()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == IMPORT_PATH:
            await self.app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        size = int(announced) if announced.isdigit() else 0
        seen = 0

        async def receive_in_turn() -> Message:
            nonlocal seen
            message = await receive()  # of somebody who may send it: others take no turn
            if message["type"] == "http.request":
                is_first, is_last = seen == 0, not message.get("more_body", False)
                seen += len(message.get("body", b""))
                if is_first and not is_last and size > LARGE:
                    await asyncio.sleep(self._beginnings.wait_s(size, _key_of(scope)))
                if is_last and seen > LARGE:
                    await asyncio.sleep(self._ends.wait_s(seen, _key_of(scope)))
            return message

        await self.app(scope, receive_in_turn, send)


def _key_of(scope: Scope) -> str:
    """Return the key that sends a body, "" on a route that does not ask who calls."""
    caller: Caller | None = scope.get("state", {}).get("caller")
    return caller.key_id if caller is not None else ""
