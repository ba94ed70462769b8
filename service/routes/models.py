"""GET /v1/models: `attune` for the live version, `attune@N` for every version that may answer."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request

from service.engine.router import LIVE_NAME, version_name
from service.errors import ModelNotFound
from service.http.checked_route import CheckedRoute
from service.http.dependencies import AnyCaller, service_of
from store.versions import Version, versions

router = APIRouter(tags=["chat"], route_class=CheckedRoute)


@router.get("/v1/models")
async def list_models(request: Request, caller: AnyCaller) -> dict[str, Any]:
    """List every name that a request may use."""
    return {"object": "list", "data": await _models(request)}


@router.get("/v1/models/{name}")
async def get_model(request: Request, name: str, caller: AnyCaller) -> dict[str, Any]:
    """Describe one name."""
    for model in await _models(request):
        if model["id"] == name:
            return model
    raise ModelNotFound(f"there is no model {name!r}; GET /v1/models lists those there are", param="model")


async def _models(request: Request) -> list[dict[str, Any]]:
    found = [
        version
        for version in await service_of(request).records.read(versions)
        if version.state not in ("rejected", "withdrawn")
    ]
    live = next((version for version in found if version.state == "live"), None)
    ours = [
        *([_model(LIVE_NAME, live)] if live else []),
        *(_model(version_name(version.number), version) for version in found),
    ]
    return ours + [
        {"id": name, "object": "model", "created": 0, "owned_by": "backend"} for name in service_of(request).backends
    ]


def _model(name: str, version: Version) -> dict[str, Any]:
    created = int(datetime.fromisoformat(version.created_at).timestamp())
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "attune",
        "version": version.number,
        "state": version.state,
    }
