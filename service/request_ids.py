"""A name for each request, on every answer and every line of the log about a failure, so that a user can say which one
went wrong.
"""

import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from store.ids import new_id

HEADER = "X-Request-Id"
SCOPE_KEY = "attune.request_id"
_THEIRS = re.compile(
    rb"[A-Za-z0-9._:/+=-]{1,128}"
)  # a proxy's own name for it is kept; anything else could forge lines of the log


class RequestIds:
    """ASGI middleware that names each request and says the name in `X-Request-Id`; one that comes with a name keeps it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        theirs = next((value for name, value in scope["headers"] if name == HEADER.lower().encode()), b"")
        name = scope[SCOPE_KEY] = theirs.decode() if _THEIRS.fullmatch(theirs) else new_id("req-")

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = name
            await send(message)

        await self.app(scope, receive, named)


def request_id_of(scope: Scope) -> str:
    """Return the request's name, "-" before it has one."""
    return str(scope.get(SCOPE_KEY, "-"))
