"""Feedback as other front ends send it by themselves, the moment that it is given."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse

from service.auth import Anyone, Caller, service_of
from service.errors import Forbidden, Unprocessable
from service.feedback_formats import imported
from service.routes.export import add_all, answers_given, of_imported
from service.routes.feedback import said
from store.feedback import get_feedback
from store.versions import live_version

router = APIRouter(tags=["feedback"])
WRAPPINGS = ("feedback", "payload", "event")  # names under which a sender may put the record


async def envoy(caller: Anyone) -> Caller:
    """Return a caller who may hand on what others think. Raises Forbidden."""
    if not (caller.may("admin") or (caller.may("feedback") and caller.may("act-as"))):
        said = f"this key lacks the scopes feedback and act-as (or admin); it has {' '.join(caller.scopes)}"
        raise Forbidden(said, code="missing_scope")
    return caller


Envoy = Annotated[Caller, Depends(envoy)]


@router.post("/v1/webhooks/open-webui", status_code=201)
async def open_webui(request: Request, caller: Envoy, body: dict[str, Any]) -> JSONResponse:
    """Take one thumb of Open WebUI: its record of the feedback (data, meta, snapshot, user_id), bare or in an envelope.

    It is about the answer that was given here, if there is one with that text in that conversation, and so about the
    version that gave it.
    A changed thumb replaces the earlier one; the same record again is 200.
    """
    service = service_of(request)
    record = _record_in(body)
    try:
        word = imported(record, "open-webui")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Unprocessable(f"this is no feedback of Open WebUI: {error}") from error
    live, given = await service.records.read(
        lambda db: (live_version(db).number, answers_given(db, [(1, record)], "open-webui"))
    )
    try:
        row = await asyncio.to_thread(of_imported, word, service.model, live, given)
    except ValueError as error:  # the model's template refuses the conversation
        raise Unprocessable(f"this cannot be learned from: {error}") from error
    added = await service.records.write(lambda db: add_all(db, [row]))
    if added:
        service.metrics.feedback.labels(row[1].kind).inc()
    kept = await service.records.read(lambda db: get_feedback(db, row[1].id))
    return JSONResponse({**said(kept), "ours": not row[0]}, 201 if added else 200)


def _record_in(body: dict[str, Any]) -> dict[str, Any]:
    """Return the record, wherever the envelope has it. Raises Unprocessable for a body without one."""
    for candidate in (body, *(body.get(name) for name in WRAPPINGS), body.get("data")):
        if isinstance(candidate, dict) and {"data", "snapshot"} <= set(candidate):
            return candidate
    raise Unprocessable(
        f"there is no record with data and snapshot in this body; it has {', '.join(sorted(body))[:80] or 'nothing'}"
    )
