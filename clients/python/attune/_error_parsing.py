"""The errors that responses and streams carry, as exceptions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attune._errors import (
    APIError,
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    Overloaded,
    ServerError,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unprocessable,
)

BY_STATUS: dict[int, type[APIError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: Unprocessable,
    429: TooManyRequests,
    503: Overloaded,
}


def error_from_response(status: int, headers: Mapping[str, str], body: bytes) -> APIError:
    """Return the error for a response of status 400 and above, whatever its body is.

    It reads OpenAI's shape, `{"error": {"message", "type", "param", "code"}}`. A proxy's HTML page becomes one short
    sentence.
    """
    kind = BY_STATUS.get(status) or (ServerError if status >= 500 else BadRequest)
    details = _error_object(body)
    message = str(details.get("message") or "") or f"The service answered with status {status}."
    return kind(
        " ".join(message.split()),
        status=status,
        code=_text(details.get("code")) or _text(details.get("type")),
        param=_text(details.get("param")),
        request_id=headers.get("x-request-id"),
        retry_after_s=retry_after_s(headers),
    )


def error_from_event(details: Mapping[str, Any]) -> APIError:
    """Return the error that the service sent in the middle of a stream, after the status 200."""
    message = " ".join(str(details.get("message") or "The service stopped in the middle of its answer.").split())
    code = _text(details.get("code")) or _text(details.get("type"))
    return ServerError(message, status=500, code=code, param=_text(details.get("param")))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds in a `Retry-After` header, None without one. Dates are ignored: no API sends them."""
    try:
        return max(0.0, float(headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def _error_object(body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(body)
    except ValueError:
        return {}
    error = content.get("error", content) if isinstance(content, dict) else {}
    return error if isinstance(error, dict) else {"message": error}


def _text(value: object) -> str | None:
    return None if value is None else str(value)
