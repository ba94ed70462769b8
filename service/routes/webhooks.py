"""POST /v1/webhooks/open-webui: feedback as that front end sends it, the moment that it is given."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse

from service.auth import Caller
from service.errors import Forbidden, Unprocessable
from service.feedback_import import BAD_RECORD, add_rows, rated_completions, row_of
from service.feedback_import_formats import parse_record
from service.http.checked_route import CheckedRoute
from service.http.dependencies import AnyCaller, service_of
from service.http.feedback_json import feedback_json
from store.feedback import get_feedback
from store.versions import live_version

router = APIRouter(tags=["feedback"], route_class=CheckedRoute)
WRAPPINGS = ("feedback", "payload", "event")  # fields in which a sender may put the record


async def allow_forwarding(caller: AnyCaller) -> Caller:
    """Return a caller who may pass on other people's feedback. Raises Forbidden."""
    if not (caller.may("admin") or (caller.may("feedback") and caller.may("act-as"))):
        message = f"this key lacks the scopes feedback and act-as (or admin); it has {' '.join(caller.scopes)}"
        raise Forbidden(message, code="missing_scope")
    return caller


ForwardingCaller = Annotated[Caller, Depends(allow_forwarding)]


@router.post("/v1/webhooks/open-webui", status_code=201)
async def open_webui(request: Request, caller: ForwardingCaller, body: dict[str, Any]) -> JSONResponse:
    """Take one thumb of Open WebUI: its record of the feedback (data, meta, snapshot, user_id), bare or in an envelope.

    It rates the answer of this service with that text in that conversation, if there is one, and so its version. A
    changed thumb replaces the earlier one; the same record again is 200.
    """
    service = service_of(request)
    record = _record_in(body)
    try:
        imported = parse_record(record, "open-webui")
    except BAD_RECORD as error:
        raise Unprocessable(f"this is no feedback of Open WebUI: {error}") from error
    live, known = await service.records.read(lambda db: (live_version(db).number, rated_completions(db, [imported])))
    try:
        completions, feedback = await asyncio.to_thread(row_of, imported, service.model, live, known)
    except ValueError as error:  # the model's template refuses the conversation
        raise Unprocessable(f"this cannot be learned from: {error}") from error
    added, refused = await service.records.write(lambda db: add_rows(db, [(1, (completions, feedback))]))
    if refused:
        raise refused[0][1]
    if added:
        service.metrics.feedback.labels(feedback.kind).inc()
    stored = await service.records.read(lambda db: get_feedback(db, feedback.id))
    return JSONResponse({**feedback_json(stored), "ours": not completions}, 201 if added else 200)


def _record_in(body: dict[str, Any]) -> dict[str, Any]:
    """Return the record, wherever the envelope has it. Raises Unprocessable for a body without one."""
    for candidate in (body, *(body.get(name) for name in WRAPPINGS), body.get("data")):
        if isinstance(candidate, dict) and {"data", "snapshot"} <= set(candidate):
            return candidate
    fields = ", ".join(sorted(body))[:80] or "nothing"
    raise Unprocessable(f"there is no record with data and snapshot in this body; it has {fields}")
