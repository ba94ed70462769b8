"""Bounds on what comes in: how large a body may be, and how often a key may call."""

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import TooLarge, TooManyRequests, error_response

IMPORT_PATH = "/v1/import"
IMPORT_TIMES = 64  # an import may be this many times as large as any other body


class BodyLimit:
    """ASGI middleware that answers 413 to a body over the limit, with or without a Content-Length header.

    It does so when the body is asked for, which a route does once it knows who sends it.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.max_bytes * (IMPORT_TIMES if scope["path"] == IMPORT_PATH else 1)
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        too_large = TooLarge(f"the body is larger than the limit of {limit} bytes")
        is_announced = announced.isdigit() and int(announced) > limit
        seen, is_refused, has_begun = 0, False, False

        async def counted() -> Message:
            nonlocal seen, is_refused
            is_refused = is_refused or is_announced
            if not is_refused:
                message = await receive()
                seen += len(message.get("body", b""))
                is_refused = seen > limit
            if is_refused:
                raise too_large
            return message

        async def send_unless_refused(message: Message) -> None:
            nonlocal has_begun
            if not is_refused:
                has_begun = True
                await send(message)
            elif not has_begun:  # the application's response to a cut body is replaced by the reason
                has_begun = True
                await error_response(too_large)(scope, receive, send)

        await self.app(scope, counted, send_unless_refused)


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
