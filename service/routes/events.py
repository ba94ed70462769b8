"""GET /v1/events: what happens, as server-sent events that a client can resume where they broke off."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from service.async_store import Records
from service.auth import Caller
from service.event_signal import EventSignal
from service.http.checked_route import CheckedRoute
from service.http.dependencies import AnyCaller, service_of
from service.http.json_values import MAX_NUMBER
from service.http.sse import EventStream
from store.events import Event, events_after

router = APIRouter(tags=["learning"], route_class=CheckedRoute)
QUIET_S = 15.0  # a comment is sent after so long without an event, so that proxies keep the connection
BATCH = 500


@router.get("/v1/events", response_model=None)
async def events(
    request: Request,
    caller: AnyCaller,
    after: Annotated[int | None, Query(ge=0, le=MAX_NUMBER)] = None,
    last_event_id: Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=MAX_NUMBER)] = None,
) -> Response:
    """Follow what happens after sequence number `after` (or the header Last-Event-ID); without either, from now on."""
    service = service_of(request)
    resumed = last_event_id if last_event_id is not None else after
    seq = resumed if resumed is not None else service.event_signal.latest
    stream = _events(service.records, service.event_signal, caller, seq)
    return EventStream(stream, on_end=lambda: None, headers={})


async def _events(records: Records, event_signal: EventSignal, caller: Caller, seq: int) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n\n"
    while not event_signal.closed:
        found = await records.read(lambda db, seq=seq: events_after(db, seq, BATCH))  # type: ignore[misc]
        for one in found:
            yield _frame(one, caller)
            seq = one.seq
        if len(found) == BATCH:
            await asyncio.sleep(0)
        elif not await event_signal.wait(seq, QUIET_S) and not event_signal.closed:
            yield b": nothing new\n\n"


def _frame(event: Event, caller: Caller) -> bytes:
    """Return one event; only admins see who gave feedback."""
    data: dict[str, Any] = {**event.data, "at": event.created_at}
    if not caller.may("admin"):
        data.pop("rater", None)
    return f"id: {event.seq}\nevent: {event.kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
