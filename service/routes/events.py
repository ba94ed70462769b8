"""GET /v1/events: what happens, as server-sent events that a client can resume where they broke off."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from service.auth import Caller, is_still_known
from service.event_feed import EventFeed
from service.http.checked_route import CheckedRoute
from service.http.dependencies import AnyCaller, service_of
from service.http.json_values import MAX_NUMBER
from service.http.sse import EventStream
from service.personal_fields import event_for
from store.events import Event

router = APIRouter(tags=["learning"], route_class=CheckedRoute)
QUIET_S = 15.0  # a comment is sent after so long without an event, so that proxies keep the connection
KNOWN_S = 60.0  # after so long the key is looked at again: a stream may last for days


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
    seq = resumed if resumed is not None else service.event_feed.latest
    service.event_streams.take(caller.key_id)
    return EventStream(
        _events(service.event_feed, caller, seq, lambda: service.records.read(lambda db: is_still_known(db, caller))),
        on_end=lambda: service.event_streams.give_back(caller.key_id),
        headers={},
    )


async def _events(
    feed: EventFeed, caller: Caller, seq: int, is_known: Callable[[], Awaitable[bool]]
) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n\n"
    last_sent = last_known = time.monotonic()
    async for found in feed.follow(seq, QUIET_S):
        if time.monotonic() - last_known >= KNOWN_S:
            if not await is_known():
                return
            last_known = time.monotonic()
        frames = b"".join(_frame(one, caller) for one in found)
        # what happens may be nothing to this caller for hours
        if frames or not found or time.monotonic() - last_sent >= QUIET_S:
            yield frames or b": nothing new\n\n"
            last_sent = time.monotonic()


def _frame(event: Event, caller: Caller) -> bytes:
    """Return one event as the caller sees it, nothing for one that does not exist for them."""
    shown = event_for(event, caller)
    if shown is None:
        return b""
    data = {**shown.data, "at": event.created_at}
    return f"id: {event.seq}\nevent: {event.kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
