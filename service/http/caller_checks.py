"""Who calls, and whether they may, before a byte of the body is read: FastAPI alone reads and parses it first."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request
from fastapi.dependencies.models import Dependant
from starlette.types import Scope

from service.auth import Caller
from service.http.dependencies import identify

Check = Callable[[Caller], Awaitable[Any]]


async def require_caller(scope: Scope) -> None:
    """Ask what the route asks of its caller. Raises Unauthorized, Forbidden, TooManyRequests."""
    dependant: Dependant | None = getattr(scope.get("route"), "dependant", None)
    checks = caller_checks(dependant) if dependant is not None else None
    if checks is None:
        return
    request = Request(scope)
    given = request.headers
    caller = await identify(
        request, given.get("authorization"), given.get("x-attune-rater"), given.get("x-openwebui-user-id")
    )
    for check in checks:
        await check(caller)


def caller_checks(dependant: Dependant) -> list[Check] | None:
    """Return what a route asks of its caller beyond being known; None where it does not ask who calls."""
    asks, checks = False, []
    for one in dependant.dependencies:
        inner = [other.call for other in one.dependencies]
        asks = asks or one.call is identify or identify in inner
        if inner == [identify] and one.call is not None and _asks_the_caller_alone(one):
            checks.append(one.call)
    return checks if asks else None


def _asks_the_caller_alone(dependant: Dependant) -> bool:
    parameters = (dependant.path_params, dependant.query_params, dependant.header_params, dependant.body_params)
    return not any(parameters) and dependant.request_param_name is None
