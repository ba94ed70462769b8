"""Whether the service is alive, whether it can answer, and its numbers."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from service.http.checked_route import CheckedRoute
from service.http.dependencies import service_of

router = APIRouter(tags=["running"], route_class=CheckedRoute)


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """Report that the process is alive."""
    return {"status": "alive"}


@router.get("/health")
async def health() -> dict[str, str]:
    """Report that the process is alive, under the name that vLLM and llama.cpp give it."""
    return await alive()


@router.get("/readyz")
async def ready(request: Request) -> JSONResponse:
    """Report whether a version is loaded and the store takes and gives rows; 503 with the reason while not."""
    service = service_of(request)
    reason = await service.store_check.reason()
    is_ready = service.is_open and service.engine.is_ready and not reason
    router = service.engine.router
    live = service.engine.slots.get(router.live) if router is not None else None
    state: dict[str, Any] = {
        "status": "ready" if is_ready else "not ready",
        "model": service.model_name,
        "store": not reason,
        "version": router.live if router is not None else None,
        "runner": live.runner.kind if live is not None else None,
        "runner_reason": service.model.runner_reason if live is not None else None,
    }
    if reason:
        state["reason"] = reason
    return JSONResponse(state, 200 if is_ready else 503, None if is_ready else {"Retry-After": "1"})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Give all numbers in Prometheus' text format."""
    service = service_of(request)
    numbers, engine = service.metrics, service.engine
    numbers.slots.set(len(engine.slots))
    numbers.tasks.set(len(asyncio.all_tasks()))
    numbers.leases.set(engine.num_leases)
    numbers.active.set(service.admission.active)
    numbers.queued.set(service.admission.queued)
    if engine.router is not None:
        numbers.live_version.set(engine.router.live)
    return Response(numbers.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
