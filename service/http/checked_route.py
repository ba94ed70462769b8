"""Routes whose path, query and body pass the check of values before anything else looks at them."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from service.errors import BadRequest
from service.http.json_values import BadValue, NotJson, check_text, json_value

LARGE = 256 * 1024  # bytes of a body that is parsed on a thread: milliseconds, in which others would wait


class CheckedRequest(Request):
    """A request whose JSON is parsed by the one check of values."""

    async def json(self) -> Any:
        """Return the body's JSON value. Raises BadRequest."""
        if not hasattr(self, "_checked"):
            body = await self.body()
            with_errors = checked(json_value)
            self._checked = await asyncio.to_thread(with_errors, body) if len(body) > LARGE else with_errors(body)
        return self._checked


class CheckedRoute(APIRoute):
    """A route that refuses bad values with 400 before its function, or any body model, sees them."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler behind the check."""
        handle = super().get_route_handler()

        async def check_and_handle(request: Request) -> Response:
            checked(_check_address)(request)
            request = CheckedRequest(request.scope, request.receive)
            reads_json = self.body_field is not None and _is_json(request.headers.get("content-type", ""))
            if reads_json and await request.body():
                await request.json()  # here its errors keep their shape; FastAPI finds the value cached
            return await handle(request)

        return check_and_handle


def checked(check: Callable[..., Any]) -> Callable[..., Any]:
    """Return a check of values that raises BadRequest in place of BadValue and NotJson."""

    def with_request_errors(*values: Any) -> Any:
        try:
            return check(*values)
        except BadValue as error:
            param = error.field or None
            raise BadRequest(error.described, param=param, code="invalid_value") from error
        except NotJson as error:
            raise BadRequest(f"the body is not JSON: {error}", code="invalid_json") from error

    return with_request_errors


def _check_address(request: Request) -> None:
    for name, value in request.path_params.items():
        check_text(str(value), name)
    for name, text in request.query_params.multi_items():
        check_text(name, "query")
        check_text(text, name)


def _is_json(content_type: str) -> bool:
    """Whether FastAPI reads a body of this content type as JSON."""
    subtype = content_type.split(";")[0].strip().lower().partition("/")[2]
    return subtype == "json" or subtype.endswith("+json")
