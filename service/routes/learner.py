"""What the learner does, and orders to it."""

from typing import Any

from fastapi import APIRouter, Request

from service.http.checked_route import CheckedRoute
from service.http.dependencies import AdminCaller, AnyCaller, service_of
from service.learner_state import describe_learner
from service.personal_fields import for_caller
from store.learner import add_order

router = APIRouter(tags=["learning"], route_class=CheckedRoute)


@router.get("/v1/learner")
async def learner(request: Request, caller: AnyCaller) -> dict[str, Any]:
    """Show what the learner does, what waits for it, and when it begins next."""
    described: dict[str, Any] = for_caller(await service_of(request).records.read(describe_learner), caller)
    return described


@router.post("/v1/learner/update", status_code=202)
async def update(request: Request, caller: AdminCaller) -> dict[str, Any]:
    """Ask for an update now, with whatever waits."""
    return await _order(request, "update")


@router.post("/v1/learner/pause", status_code=202)
async def pause(request: Request, caller: AdminCaller) -> dict[str, Any]:
    """Keep the learner from beginning updates; feedback is still taken."""
    return await _order(request, "pause")


@router.post("/v1/learner/resume", status_code=202)
async def resume(request: Request, caller: AdminCaller) -> dict[str, Any]:
    """Let the learner begin updates again."""
    return await _order(request, "resume")


async def _order(request: Request, kind: str) -> dict[str, Any]:
    records = service_of(request).records
    await records.write(lambda db: add_order(db, kind))
    return await records.read(describe_learner)
