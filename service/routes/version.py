"""GET /v1/version: which release answers, on which schema of the store."""

import platform
from typing import Any

from fastapi import APIRouter, Request

from service.http.checked_route import CheckedRoute
from service.http.dependencies import AnyCaller, service_of
from service.installed import installed_release
from store.database import schema_of

router = APIRouter(tags=["running"], route_class=CheckedRoute)


@router.get("/v1/version")
async def show_release(request: Request, caller: AnyCaller) -> dict[str, Any]:
    """Show the release of the service, the schema of its store, and its Python."""
    schema = await service_of(request).records.read(schema_of)
    return {"version": installed_release(), "schema": schema, "python": platform.python_version()}
