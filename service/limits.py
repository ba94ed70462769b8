"""Bounds on what comes in: how large a body may be, and how often a key may call."""

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import TooLarge, TooManyRequests, error_response

IMPORT_PATH = "/v1/import"


class BodyLimit:
    """ASGI middleware that answers 413 to a body over the limit, with or without a Content-Length header."""

    def __init__(self, app: ASGIApp, max_bytes: int, max_import_bytes: int) -> None:
        self.app, self.max_bytes, self.max_import_bytes = app, max_bytes, max_import_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.max_import_bytes if scope["path"] == IMPORT_PATH else self.max_bytes
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        too_large = TooLarge(f"the body is larger than the limit of {limit} bytes")
        if announced.isdigit() and int(announced) > limit:
            await error_response(too_large)(scope, receive, send)
            return
        seen, has_answered = 0, False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise too_large
            return message

        async def send_unless_too_large(message: Message) -> None:
            nonlocal has_answered
            if seen <= limit:
                await send(message)
            elif not has_answered:  # the application's response to a cut body is replaced by the reason
                has_answered = True
                await error_response(too_large)(scope, receive, send)

        await self.app(scope, counted, send_unless_too_large)


class RateLimiter:
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
            raise TooManyRequests(
                f"this key may make {self.per_minute} requests a minute", retry_after_s=(1.0 - left) / per_s
            )
        self._buckets[key_id] = (left - 1.0, at)
