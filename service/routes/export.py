"""GET /v1/export and POST /v1/import: feedback out to other trainers, and in from other programs."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from service.errors import BadRequest
from service.feedback_export import ExportFormat, exported_lines
from service.feedback_import import import_records
from service.feedback_import_formats import ImportFormat, records_of
from service.http.checked_route import CheckedRoute
from service.http.dependencies import AdminCaller, service_of

router = APIRouter(tags=["data"], route_class=CheckedRoute)
MOST_ERRORS = 100


@router.get("/v1/export", response_class=StreamingResponse)
async def export(request: Request, caller: AdminCaller, format: ExportFormat = "preference") -> StreamingResponse:
    """Give feedback as JSON Lines: each rater's latest as preference, unpaired or sft for TRL, or everything as raw."""
    lines = exported_lines(service_of(request).records, format)
    headers = {"Content-Disposition": f'attachment; filename="attune-{format}.jsonl"'}
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)


@router.post("/v1/import")
async def import_feedback(request: Request, caller: AdminCaller, format: ImportFormat | None = None) -> dict[str, Any]:
    """Take in feedback of the same forms, or Open WebUI's export.

    What is here already is skipped and counted; lines at fault are named.
    """
    service = service_of(request)
    try:
        numbered = list(records_of(await request.body()))
    except ValueError as error:
        raise BadRequest(f"the body is neither JSON nor JSON Lines ({error})", code="invalid_json") from error
    report = await import_records(service.records, service.model, numbered, format)
    return {
        "imported": report.added,
        "skipped": report.already_here + len(report.errors),
        "already_here": report.already_here,
        "errors": report.errors[:MOST_ERRORS],
    }
