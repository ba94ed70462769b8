"""An id for each request, in every response and every log line about a failure, so that a user can report it."""

import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from store.ids import new_id

HEADER = "X-Request-Id"
SCOPE_KEY = "attune.request_id"
# the id that a proxy gave is kept; other characters could forge lines of the log
_PROXY_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")


class RequestIds:
    """ASGI middleware that gives each request an id, or keeps the one it has, and returns it in `X-Request-Id`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == HEADER.lower().encode()), b"")
        request_id = scope[SCOPE_KEY] = given.decode() if _PROXY_ID.fullmatch(given) else new_id("req-")

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        await self.app(scope, receive, send_with_id)


def request_id_of(scope: Scope) -> str:
    """Return the request's id, "-" before it has one."""
    return str(scope.get(SCOPE_KEY, "-"))
