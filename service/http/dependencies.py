"""FastAPI dependencies: the service behind a request, and its caller with the scopes that a route needs."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Header, Request

from service.auth import OPEN_WEBUI, Caller, find_caller
from service.door import require_local
from service.errors import Forbidden, Unauthorized
from service.lifecycle import Service


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
    known: Caller | None = getattr(request.state, "caller", None)
    if known is not None:  # asked before the body was read
        return known
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
        require_local(request.scope, service.settings.origins)
    service.rates.take(caller.key_id)
    if x_attune_rater is None and x_openwebui_user_id is not None and caller.may("act-as"):
        caller = caller.acting_as(f"{OPEN_WEBUI}:{x_openwebui_user_id}", "X-OpenWebUI-User-Id")
    else:
        caller = caller.acting_as(x_attune_rater, "X-Attune-Rater")
    request.state.caller = caller
    return caller


def allow(*scopes: str) -> Callable[[Caller], Awaitable[Caller]]:
    """Return a dependency that gives the caller if their key has one of `scopes`, and raises Forbidden otherwise."""

    async def check(caller: Annotated[Caller, Depends(identify)]) -> Caller:
        if not any(caller.may(scope) for scope in scopes):
            message = f"this key lacks the scope {' or '.join(scopes)}; it has {' '.join(caller.scopes)}"
            raise Forbidden(message, code="missing_scope")
        return caller

    return check


AnyCaller = Annotated[Caller, Depends(identify)]
ChatCaller = Annotated[Caller, Depends(allow("chat"))]
FeedbackCaller = Annotated[Caller, Depends(allow("feedback"))]
AdminCaller = Annotated[Caller, Depends(allow("admin"))]
RetractingCaller = Annotated[Caller, Depends(allow("feedback", "admin"))]
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]
