"""Bounds on what comes in: how large a body may be, and how often a key may call."""

import time
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import TooLarge, TooManyRequests, error_response

IMPORT_PATH = "/v1/import"
IMPORT_TIMES = 64  # an import may be this many times as large as any other body


class BodyLimit:
    """ASGI middleware that answers 413 to a body over the limit, whether its length was announced or not."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.max_bytes * (IMPORT_TIMES if scope["path"] == IMPORT_PATH else 1)
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        too_large = TooLarge(f"the body is larger than the limit of {limit} bytes")
        if announced.isdigit() and int(announced) > limit:
            await error_response(too_large)(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise too_large
            return message

        await self.app(scope, counted, send)


class Rates:
    """A token bucket per key: `per_minute` requests, in bursts of a tenth of that (at least 10). 0 means no limit."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self.burst = per_minute, max(10.0, per_minute / 10)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # key -> (requests left, at what time)

    def take(self, key_id: str) -> None:
        """Count one request. Raises TooManyRequests."""
        if not self.per_minute:
            return
        at, per_s = self._clock(), self.per_minute / 60
        left, since = self._buckets.get(key_id, (self.burst, at))
        left = min(self.burst, left + (at - since) * per_s)
        if left < 1.0:
            raise TooManyRequests(f"this key may make {self.per_minute} requests a minute", retry_after_s=(1.0 - left) / per_s)
        self._buckets[key_id] = (left - 1.0, at)


def security_headers(extra: dict[str, str]) -> Callable[[ASGIApp], Any]:
    """Return ASGI middleware that adds headers to every answer that does not set them itself."""
    wanted = [(name.lower().encode(), value.encode()) for name, value in extra.items()]

    def wrap(app: ASGIApp) -> ASGIApp:
        async def with_headers(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_more(message: Message) -> None:
                if message["type"] == "http.response.start":
                    there = {name for name, _ in message["headers"]}
                    message["headers"] = [*message["headers"], *(pair for pair in wanted if pair[0] not in there)]
                await send(message)

            await app(scope, receive, send_more if scope["type"] == "http" else send)

        return with_headers

    return wrap
