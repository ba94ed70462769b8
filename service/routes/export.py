"""GET /v1/export and POST /v1/import: feedback out to other trainers, and in from other programs."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from service.feedback_export import ExportFormat, exported_lines
from service.feedback_import import Import
from service.feedback_import_formats import ImportFormat
from service.http.checked_route import CheckedRoute
from service.http.dependencies import AdminCaller, service_of

router = APIRouter(tags=["data"], route_class=CheckedRoute)


@router.get("/v1/export", response_class=StreamingResponse)
async def export(request: Request, caller: AdminCaller, format: ExportFormat = "preference") -> StreamingResponse:
    """Give feedback as JSON Lines: each rater's latest as preference, unpaired or sft for TRL, or everything as raw."""
    lines = exported_lines(service_of(request).records, format)
    headers = {"Content-Disposition": f'attachment; filename="attune-{format}.jsonl"'}
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)


@router.post("/v1/import")
async def import_feedback(request: Request, caller: AdminCaller, format: ImportFormat | None = None) -> dict[str, Any]:
    """Take in feedback of the same forms, or Open WebUI's export.

    What is here already is skipped and counted; records at fault are counted, and the first hundred named. The body is
    read as it comes: what came before it breaks off stays.
    """
    service = service_of(request)
    max_record_bytes = int(service.settings.limits.body_mb * 2**20)
    report = await Import(service.records, service.model, format, max_record_bytes).read(request.stream())
    return {
        "imported": report.added,
        "skipped": report.already_here + report.faults,
        "already_here": report.already_here,
        "errors": report.errors,
    }
