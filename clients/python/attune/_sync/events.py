# Written by make_sync.py from attune/_async/events.py.
# Change that file, then run `python clients/python/make_sync.py`.
"""The service's events in order, across broken connections and restarts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from attune._sync.connection import Connection
from attune._sync.waiting import pause
from attune._errors import ServerError, ServiceUnreachable, Timeout
from attune._requests import Request
from attune._responses import faults_of
from attune._retry import patience
from attune._server_events import EventReader, ServerEvent, json_of
from attune._types.monitoring import Event

if TYPE_CHECKING:
    import httpx
    from typing_extensions import Self

SILENCE_S = 60.0  # a silent connection may be dead after this; connecting again is cheap and loses nothing
ABSENCE_S = 120.0  # longest absence of the service before we give up


class Events(Iterator[Event]):
    """Events in order, each once. After a broken connection it resumes behind the last event.

    Raises ServiceUnreachable when the service does not answer at first, or is away for two minutes.

    >>> with client.events(after=0) as events:
    ...     event = next(events)
    ...     print(event.seq, event.kind)
    1 feedback
    """

    def __init__(self, connection: Connection, after: int | None) -> None:
        self._connection = connection
        self.last_seq = after
        self._response: httpx.Response | None = None
        self._received: Iterator[bytes] | None = None
        self._reader = EventReader()
        self._ready: deque[ServerEvent] = deque()
        self._is_closed = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        while not self._is_closed:
            event = self._next_event()
            if event is None:
                self._drop()
                pause(self._connection.retry.wait_s(1))  # do not storm a service that ends every stream
                continue
            seq = int(event.id) if event.id.isdigit() else (self.last_seq or 0)
            if self.last_seq is not None and event.id.isdigit() and seq <= self.last_seq:
                continue  # received before the connection broke
            self.last_seq = seq
            return Event(seq, event.event or "message", json_of(event))
        raise StopIteration

    def _next_event(self) -> ServerEvent | None:
        """Return the next event, None when the stream ended or broke."""
        while not self._ready:
            if self._received is None:
                self._connect()
            assert self._received is not None
            try:
                with faults_of(self._connection.address):
                    self._ready.extend(self._reader.feed(self._received.__next__()))
            except (StopIteration, ServiceUnreachable, Timeout):
                return None
        return self._ready.popleft()

    def _connect(self) -> None:
        resumed = {"Last-Event-ID": str(self.last_seq)} if self.last_seq is not None else {}
        headers = {"Accept": "text/event-stream", **resumed}
        request = Request(
            "GET", "/v1/events", {"after": self.last_seq}, headers=headers, safe=True, timeout_s=SILENCE_S
        )
        began, tried = time.monotonic(), 0
        while True:
            try:
                self._response = self._connection.respond(request, stream=True)
                self._received = self._response.iter_bytes()
                self._was_connected = True
                return
            except (ServiceUnreachable, Timeout, ServerError) as error:
                if not self._was_connected or time.monotonic() - began > ABSENCE_S:
                    raise
                tried += 1
                pause(self._connection.retry.wait_s(tried, patience(error)))

    _was_connected = False

    def _drop(self) -> None:
        self._reader, self._received = EventReader(), None
        if self._response is not None:
            self._response.close()
            self._response = None

    def close(self) -> None:
        """Stop following the events.

        >>> events = client.events()
        >>> events.close()
        >>> [event for event in events]
        []
        """
        self._is_closed = True
        self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
