"""What one connection may take: uvicorn's HTTP protocol with deadlines, and with bounds per address.

uvicorn itself waits for ever for the rest of headers and bodies, and for clients that read nothing.
"""

import asyncio
import contextlib
import json
import resource
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.addresses import network_of
from service.errors import BadRequest, HeadersTooLarge, Overloaded, RequestError, RequestTimeout
from service.settings import LimitSettings

MAX_HEADER_BYTES = 64 * 1024
BODY_BYTES_PER_S = 16 * 1024
LINGER_S = 5.0  # for the rest of a body that was refused, so that its sender can read why
WANTED_FILES = 65_536


@dataclass
class Bounds:
    """The limits of all connections, and how many there are."""

    header_s: float
    body_s: float
    unread_s: float
    per_address: int
    """0 means no limit."""
    in_all: int
    open: Counter[str] = field(default_factory=Counter)


def bounds_of(limits: LimitSettings) -> Bounds:
    """Return the bounds of these settings. The files that the process may open bound all connections together."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Bounds(limits.header_s, limits.body_s, limits.unread_s, limits.connections_per_address, files * 3 // 4)


def raise_file_limit() -> None:
    """Let this process open as many files as the system lets it, up to 65,536: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Connection(HttpToolsProtocol):
    """One connection. `bounds` is shared by all of them; see `bounded_by`."""

    bounds: Bounds

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._phase = "headers"  # of the request that arrives: "idle" before its first byte, "headers", "body"
        self._header_bytes = 0
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._network = ""
        self._is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._network = network_of(self.client[0]) if self.client else ""
        counts, limit = self.bounds.open, self.bounds.per_address
        counts[self._network] += 1
        count = counts[self._network]
        if (limit and count > 2 * limit) or counts.total() > self.bounds.in_all:
            self._is_refused = True
            transport.abort()
        elif limit and count > limit:
            self._refuse(
                Overloaded(
                    f"{self._network} has {count - 1} connections open, and limits.connections_per_address is {limit}",
                    code="too_many_connections",
                    retry_after_s=1,
                )
            )
        else:
            self._wait_for("headers", self.bounds.header_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self.bounds.open[self._network] -= 1
        if self.bounds.open[self._network] <= 0:
            del self.bounds.open[self._network]
        self._stop_waiting()
        if self._unread_timer is not None:
            self._unread_timer.cancel()
        super().connection_lost(exc)

    # what arrives

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._phase == "idle":
            self._wait_for("headers", self.bounds.header_s)
        if self._phase == "headers":
            self._header_bytes += len(data)
        elif self._phase == "body":
            self._deadline += len(data) / BODY_BYTES_PER_S
        self._parse(data)
        if self._phase == "headers" and self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(HeadersTooLarge(f"the headers are larger than {MAX_HEADER_BYTES} bytes"))

    def _parse(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = b"" if self._is_refused else self._without_upgrade() + data[upgrade.args[0] :]
            except httptools.HttpParserError:
                self.send_400_response("")
                return
            else:
                return

    def _without_upgrade(self) -> bytes:
        """Return the head of a request as if it had not asked for another protocol, and begin to parse anew.

        Java's client always asks (h2c). The parser would leave out the body, and take it for the next request.
        """
        kept = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        first = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        self.parser = httptools.HttpRequestParser(self)
        return b"\r\n".join([first, *kept, b"", b""])

    def on_message_begin(self) -> None:
        if self._phase != "headers":
            self._wait_for("headers", self.bounds.header_s)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase == "headers":  # what follows a chunked body ("trailers") is no header of the request
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_refused:
            return
        self._header_bytes = 0
        self._wait_for("body", self.bounds.body_s)
        # another host may stand there than in the Host header
        is_path = self.url.startswith(b"/") or self.url == b"*"
        if not is_path or self.parser.get_method() == b"CONNECT":
            self._refuse(BadRequest("the request's target must be a path, such as /v1/models", code="invalid_target"))
            return
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_refused or self.parser.should_upgrade():
            return
        self._stop_waiting()
        super().on_message_complete()
        if self.cycle.response_complete:
            self._wait_for("idle", self.timeout_keep_alive)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, in the shape of every other error."""
        self._refuse(BadRequest("this is no HTTP request", code="invalid_request"))

    # what goes out

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._phase == "body" and not self.transport.is_closing():  # an answer that did not want all of the body
            self._wait_for("rest", min(LINGER_S, self.bounds.body_s))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_timer = self.loop.call_later(self.bounds.unread_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    # deadlines

    def _wait_for(self, phase: str, seconds: float) -> None:
        self._stop_waiting()
        self._phase, self._deadline = phase, self.loop.time() + seconds
        self._timer = self.loop.call_later(seconds, self._late)

    def _stop_waiting(self) -> None:
        self._phase = "idle"
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        if self._phase == "body" and self.flow.read_paused:  # we read nothing just now, so the client cannot be late
            self._deadline = max(self._deadline, self.loop.time() + self.bounds.body_s)
        left = self._deadline - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._late)
        elif self._phase == "body" or (self._phase == "headers" and self._header_bytes):
            limit_s = self.bounds.body_s if self._phase == "body" else self.bounds.header_s
            self._refuse(RequestTimeout(f"the {self._phase} of the request did not arrive within {limit_s:g} s"))
        else:
            self._close()

    def _refuse(self, error: RequestError) -> None:
        """Answer with an error without asking the application, take nothing more, and close."""
        self._is_refused = True
        self._stop_waiting()
        self.flow.resume_reading()  # what still comes is dropped, or the client could not read the answer
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started or self.pipeline:
                self._close()
                return
        body = json.dumps(error.body()).encode()
        wait_s = error.retry_after_s
        lines = [
            STATUS_LINE[error.status],
            b"content-type: application/json\r\n",
            b"content-length: %d\r\n" % len(body),
            b"retry-after: %d\r\n" % max(1, round(wait_s)) if wait_s is not None else b"",
            b"connection: close\r\n\r\n",
            body,
        ]
        self.transport.write(b"".join(lines))
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.abort)

    def _close(self) -> None:
        self.transport.close()
        self.loop.call_later(LINGER_S, self.transport.abort)  # for a client that reads nothing


def bounded_by(bounds: Bounds) -> type[asyncio.Protocol]:
    """Return the protocol for uvicorn with these bounds."""
    return type("BoundedConnection", (Connection,), {"bounds": bounds})
