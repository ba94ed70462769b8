"""What can go wrong between a request and its answer, and how errors become HTTP.

ServiceError
├── CannotStart                                      the command ends with one line and status 1
├── VersionRefused                                   weights that are not what was trained
└── RequestError (status, code, param)
    ├── BadRequest 400 ── UnsupportedParameter, ContextLengthExceeded
    ├── Unauthorized 401, Forbidden 403, NotFound 404 ── ModelNotFound, RequestTimeout 408
    ├── Conflict 409, TooLarge 413, UnsupportedMediaType 415, Unprocessable 422
    ├── TooManyRequests 429, HeadersTooLarge 431, ReaderLeft 499
    └── EngineFailed 500 ── NoMemory 503, BackendDown 502, Overloaded 503, AnswerCut 503, TimedOut 504
"""

import logging
import sqlite3
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from service.request_ids import HEADER, request_id_of
from store.errors import IdempotencyConflict, StoreError, WriterClosed, WrongState

log = logging.getLogger(__name__)


class ServiceError(Exception):
    """Root of the service's errors."""


class CannotStart(ServiceError, RuntimeError):
    """The service cannot begin; the message is the one line that the operator sees."""


class VersionRefused(ServiceError, ValueError):
    """A version's weights are not what was trained; it must never answer."""


class RequestError(ServiceError):
    """An error with an HTTP status.

    `param` names the field at fault, `code` is for programs, and `retry_after_s` becomes the header Retry-After.
    """

    status = 500
    kind = "server_error"
    code: str | None = None

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.param, self.retry_after_s = param, retry_after_s
        self.code = code or type(self).code

    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        return error_body(str(self), self.kind, self.param, self.code)


class BadRequest(RequestError, ValueError):
    status, kind = 400, "invalid_request_error"


class UnsupportedParameter(BadRequest):
    code = "unsupported_parameter"


class ContextLengthExceeded(BadRequest):
    code = "context_length_exceeded"


class Unauthorized(RequestError):
    status, kind, code = 401, "authentication_error", "invalid_api_key"


class Forbidden(RequestError):
    status, kind, code = 403, "permission_error", "forbidden"


class NotFound(RequestError, LookupError):
    status, kind, code = 404, "invalid_request_error", "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class Conflict(RequestError, ValueError):
    status, kind, code = 409, "invalid_request_error", "conflict"


class TooLarge(RequestError):
    status, kind, code = 413, "invalid_request_error", "body_too_large"


class RequestTimeout(RequestError, TimeoutError):
    """The client took too long to send its request."""

    status, kind, code = 408, "invalid_request_error", "request_timeout"


class HeadersTooLarge(RequestError, ValueError):
    status, kind, code = 431, "invalid_request_error", "headers_too_large"


class UnsupportedMediaType(RequestError, ValueError):
    status, kind, code = 415, "invalid_request_error", "unsupported_media_type"


class Unprocessable(RequestError, ValueError):
    status, kind, code = 422, "invalid_request_error", "invalid_value"


class TooManyRequests(RequestError):
    status, kind, code = 429, "rate_limit_error", "rate_limit_exceeded"


class ReaderLeft(RequestError):
    """The client closed its connection. Nobody reads the response; its status is counted in the metrics."""

    status, kind, code = 499, "invalid_request_error", "client_closed"


class Overloaded(RequestError):
    status, kind, code = 503, "server_error", "overloaded"


class TimedOut(RequestError, TimeoutError):
    status, kind, code = 504, "server_error", "timeout"


class AnswerCut(RequestError):
    """An answer ended early: its version was drained past the limit, or the service stops."""

    status, kind, code = 503, "server_error", "answer_cut"


class EngineFailed(RequestError):
    status, kind, code = 500, "server_error", "engine_failed"


class NoMemory(EngineFailed):
    """A version does not fit the memory that versions may take."""

    status, code = 503, "out_of_memory"


class BackendDown(RequestError):
    """A backend does not answer."""

    status, kind, code = 502, "server_error", "backend_down"


def error_body(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    """Return OpenAI's error object."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_response(error: RequestError) -> JSONResponse:
    """Return the HTTP response for an error."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error.body(), error.status, headers)


def as_request_error(error: Exception) -> RequestError:
    """Return the HTTP error for an error of the store or the engine."""
    match error:
        case RequestError():
            return error
        case ClientDisconnect():
            return ReaderLeft("the client closed its connection before its body had come")
        case IdempotencyConflict():
            return Conflict(str(error), code="idempotency_conflict")
        case WrongState():
            return Conflict(str(error), code="wrong_state")
        case WriterClosed():
            return Overloaded(str(error), code="shutting_down", retry_after_s=5)
        case StoreError() if isinstance(error, LookupError):
            return NotFound(str(error))
        case sqlite3.Error():
            return Overloaded(
                "the store cannot be read or written just now; see the service's log",
                code="store_failed",
                retry_after_s=5,
            )
        case VersionRefused():
            return Conflict(str(error), code="version_refused")
        case _:
            return EngineFailed("something went wrong inside the service; see its log", code="internal_error")


def _methods_of(request: Request) -> set[str]:
    """Return the methods of all routes with the request's path: each route knows its own alone."""
    found: set[str] = set()
    for included in request.app.routes:
        for route in getattr(getattr(included, "original_router", None), "routes", (included,)):
            matches, _ = route.matches(request.scope)
            found |= set(getattr(route, "methods", None) or ()) if matches is not Match.NONE else set()
    return found


def install_error_handlers(app: FastAPI) -> None:
    """Give every error OpenAI's shape, whatever raised it; service/http/validation_errors.py has those of values."""

    async def known(request: Request, error: Exception) -> JSONResponse:
        response = error_response(as_request_error(error))
        if isinstance(error, sqlite3.Error):
            log.error(
                "%s %s: the store failed: %s (request %s)",
                request.method,
                request.url.path,
                error,
                request_id_of(request.scope),
            )
        return response

    async def unknown_route(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            return error_response(NotFound(f"there is no {request.method} {request.url.path}", code="unknown_url"))
        if error.status_code == 405:
            message, code = f"{request.url.path} does not take {request.method}", "method_not_allowed"
            headers = {"Allow": ", ".join(sorted(_methods_of(request)))}
            return JSONResponse(error_body(message, "invalid_request_error", None, code), 405, headers)
        body = error_body(str(error.detail), "invalid_request_error", None, None)
        return JSONResponse(body, error.status_code, error.headers)

    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        request_id = request_id_of(request.scope)
        log.error("%s %s failed (request %s)", request.method, request.url.path, request_id, exc_info=error)
        response = error_response(as_request_error(error))
        response.headers[HEADER] = request_id  # this handler runs outside all middleware
        return response

    for kind in (ServiceError, StoreError, sqlite3.Error, ClientDisconnect):
        app.add_exception_handler(kind, known)
    app.add_exception_handler(HTTPException, unknown_route)
    app.add_exception_handler(Exception, unexpected)
