"""Bounds on what comes in: how large a body may be, and how often a key may call."""

import time
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import RequestError, TooLarge, TooManyRequests, as_request_error, error_response

IMPORT_PATH = "/v1/import"


Before = Callable[[Scope], Awaitable[None]]


class BodyLimit:
    """ASGI middleware that answers 413 to a body over the limit, with or without a Content-Length header.

    Before a byte of any body is read, `before` is asked. It raises an error where the caller may not send one.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_import_bytes: int, before: Before) -> None:
        self.app, self.max_bytes, self.max_import_bytes, self.before = app, max_bytes, max_import_bytes, before

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.max_import_bytes if scope["path"] == IMPORT_PATH else self.max_bytes
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        too_large = TooLarge(f"the body is larger than the limit of {limit} bytes")
        is_announced = announced.isdigit() and int(announced) > limit
        refusal: RequestError | None = None
        seen, has_asked, has_begun = 0, False, False

        async def counted() -> Message:
            nonlocal refusal, seen, has_asked
            if not has_asked:
                has_asked = True
                refusal = await _error_of(self.before(scope)) or (too_large if is_announced else None)
            message: Message = {}
            if refusal is None:
                message = await receive()
                seen += len(message.get("body", b""))
                refusal = too_large if seen > limit else None
            if refusal is not None:
                raise refusal
            return message

        async def send_unless_refused(message: Message) -> None:
            nonlocal has_begun
            if refusal is None:
                has_begun = True
                await send(message)
            elif not has_begun:  # what the application answers to a cut body is replaced by the reason
                has_begun = True
                await error_response(refusal)(scope, receive, send)

        await self.app(scope, counted, send_unless_refused)


async def _error_of(work: Awaitable[None]) -> RequestError | None:
    try:
        await work
    except Exception as error:
        return as_request_error(error)
    return None


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
