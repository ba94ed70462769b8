"""HEAD is answered as GET without the body, for every route."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _Answered(OSError):
    """The headers are out, so the rest of the answer need not be made."""


class Head:
    """ASGI middleware that hands HEAD to the routes as GET, and ends the answer at its first byte."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        as_get = {**scope, "method": "GET"}
        is_answered = False

        async def send_headers(message: Message) -> None:
            nonlocal is_answered
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                is_answered = True
            else:
                raise _Answered

        try:
            await self.app(as_get, receive, send_headers)
        except BaseException:
            if not is_answered:
                raise
        finally:
            if "route" in as_get:
                scope["route"] = as_get["route"]  # what the metrics count by
