"""Routes that know who calls, and whether they may, before a byte of the body is read."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from service.auth import Caller
from service.http.dependencies import identify

Check = Callable[[Caller], Awaitable[Caller]]


class IdentifiedRoute(APIRoute):
    """A route whose dependencies on the caller come first; FastAPI alone reads and parses the body before any."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        checks = caller_checks(self.dependant)
        if checks is None:
            return answer

        async def answer_identified(request: Request) -> Response:
            given = request.headers
            caller = await identify(
                request, given.get("authorization"), given.get("x-attune-rater"), given.get("x-openwebui-user-id")
            )
            for check in checks:
                await check(caller)
            request.state.caller = caller
            return await answer(request)

        return answer_identified


def caller_checks(dependant: Dependant) -> list[Check] | None:
    """Return what a route asks of its caller, beyond being known; None where it does not ask who calls."""
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
