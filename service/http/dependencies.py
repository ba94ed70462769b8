"""FastAPI dependencies: the service behind a request, and its caller with the scopes that a route needs."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Header, Request

from service.auth import OPEN_WEBUI, Caller, find_caller
from service.errors import Forbidden, Unauthorized
from service.lifecycle import Service
from service.settings import is_loopback


def service_of(request: Request) -> Service:
    """Return the service that answers this request."""
    service: Service = request.app.state.service
    return service


async def identify(
    request: Request,
    authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
    x_attune_rater: Annotated[
        str | None, Header(description="The end user's name; needs a key with the scope act-as.")
    ] = None,
    x_openwebui_user_id: Annotated[
        str | None, Header(description="Open WebUI's name for its user; read from keys with the scope act-as.")
    ] = None,
) -> Caller:
    """Return the caller. Raises Unauthorized, Forbidden, and TooManyRequests past the caller's rate."""
    service = service_of(request)
    is_bearer = authorization is not None and authorization[:7].lower() == "bearer "
    secret = authorization[7:].strip() if authorization is not None and is_bearer else None
    caller = await service.records.read(lambda db: find_caller(db, secret))
    if caller is None:
        unknown, missing = (
            "this API key is unknown or revoked",
            "this service wants an API key: Authorization: Bearer at-...",
        )
        raise Unauthorized(unknown if secret else missing)
    if caller.is_local:
        _require_loopback(request)
    service.rates.take(caller.key_id)
    if x_attune_rater is None and x_openwebui_user_id is not None and caller.may("act-as"):
        return caller.acting_as(f"{OPEN_WEBUI}:{x_openwebui_user_id}", "X-OpenWebUI-User-Id")
    return caller.acting_as(x_attune_rater, "X-Attune-Rater")


def allow(*scopes: str) -> Callable[[Caller], Awaitable[Caller]]:
    """Return a dependency that gives the caller if their key has one of `scopes`, and raises Forbidden otherwise."""

    async def check(caller: Annotated[Caller, Depends(identify)]) -> Caller:
        if not any(caller.may(scope) for scope in scopes):
            message = f"this key lacks the scope {' or '.join(scopes)}; it has {' '.join(caller.scopes)}"
            raise Forbidden(message, code="missing_scope")
        return caller

    return check


def _require_loopback(request: Request) -> None:
    """Raise Forbidden unless the request came from this machine and under a loopback name.

    The Host header counts too: otherwise any web page could reach the service under a domain name of its own.
    """
    peer = request.client.host if request.client else ""
    if not is_loopback(peer) or not is_loopback(request.url.hostname or ""):
        raise Forbidden(
            "this service has no API keys, so it answers this machine only, under a loopback name; "
            "make a key with: attune keys create"
        )


AnyCaller = Annotated[Caller, Depends(identify)]
ChatCaller = Annotated[Caller, Depends(allow("chat"))]
FeedbackCaller = Annotated[Caller, Depends(allow("feedback"))]
AdminCaller = Annotated[Caller, Depends(allow("admin"))]
RetractingCaller = Annotated[Caller, Depends(allow("feedback", "admin"))]
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]
