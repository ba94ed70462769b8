"""Slow, greedy and malformed clients: each connection has deadlines and bounds, and others are answered meanwhile."""

import contextlib
import socket
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.auth import find_caller
from service.connections import MAX_HEADER_BYTES
from service.http import dependencies
from tests.service.raw_http import connected, exchange, get, parsed, until_closed
from tests.service.running import Running, running, wait_until

JSON = "Host: localhost\r\nContent-Type: application/json\r\n"
CHAT = '{"model": "attune", "messages": [{"role": "user", "content": "Hello!"}]}'
# What a client sends before it falls silent, and the status that ends it (0: closed without one).
SLOW = {
    "nothing at all": ("", 0),
    "an empty line": ("\r\n", 408),
    "half a method": ("GE", 408),
    "half a target": ("GET /v1/mod", 408),
    "half a version": ("GET /v1/models HT", 408),
    "half a header": ("GET /v1/models HTTP/1.1\r\nHost: loc", 408),
    "no empty line": ("GET /v1/models HTTP/1.1\r\nHost: localhost\r\n", 408),
    "half a body": (f"POST /v1/chat/completions HTTP/1.1\r\n{JSON}Content-Length: 99\r\n\r\n{{", 408),
    "a body without its first byte": (f"POST /v1/import HTTP/1.1\r\n{JSON}Content-Length: 9\r\n\r\n", 408),
    "half a chunk": (f"POST /v1/import HTTP/1.1\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n9\r\n[", 408),
    "no last chunk": (f"POST /v1/feedback HTTP/1.1\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n", 408),
    "half a trailer": (f"POST /v1/import HTTP/1.1\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n0\r\nX-A", 408),
    "100-continue": (f"POST /v1/import HTTP/1.1\r\n{JSON}Expect: 100-continue\r\nContent-Length: 9\r\n\r\n", 408),
    "half a second request": ("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /heal", 200),
    "the rest of a body that nobody reads": (f"POST /none HTTP/1.1\r\n{JSON}Content-Length: 9\r\n\r\n[", 404),
}
MALFORMED = {
    "two lengths": f"POST /v1/chat/completions HTTP/1.1\r\n{JSON}Content-Length: 2\r\nContent-Length: 90\r\n\r\n{{}}",
    "length and chunks": f"POST /v1/import HTTP/1.1\r\n{JSON}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    "0\r\n\r\n",
    "chunks not last": f"POST /v1/import HTTP/1.1\r\n{JSON}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "unknown encoding": f"POST /v1/import HTTP/1.1\r\n{JSON}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "negative length": f"POST /v1/import HTTP/1.1\r\n{JSON}Content-Length: -1\r\n\r\n",
    "signed length": f"POST /v1/import HTTP/1.1\r\n{JSON}Content-Length: +2\r\n\r\n[]",
    "huge length": f"POST /v1/import HTTP/1.1\r\n{JSON}Content-Length: {'9' * 40}\r\n\r\n[]",
    "space before the colon": f"POST /v1/import HTTP/1.1\r\n{JSON}Content-Length : 2\r\n\r\n[]",
    "folded header": f"POST /v1/import HTTP/1.1\r\n{JSON}X-A: b\r\n Content-Length: 2\r\n\r\n",
    "bare line feeds": "GET /v1/models HTTP/1.1\nHost: localhost\nX-A: b\r\r\n\r\n",
    "NUL in a header": "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-A: a\0b\r\n\r\n",
    "bad chunk size": f"POST /v1/import HTTP/1.1\r\n{JSON}Transfer-Encoding: chunked\r\n\r\nzz\r\n[]\r\n0\r\n\r\n",
    "endless chunk size": f"POST /v1/import HTTP/1.1\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n{'f' * 40}\r\n[]",
    "unknown method": "GUESS /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "version 0.9": "GET /v1/models\r\n\r\n",
    "version 3": "GET /v1/models HTTP/3.0\r\nHost: localhost\r\n\r\n",
    "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "preface of HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no target": "GET  HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tunnel": "CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running, None, None]:
    """A service with short deadlines."""
    data = tmp_path_factory.mktemp("strict") / "data"
    with running(data, limits__header_s=0.3, limits__body_s=0.3, limits__body_mb=1) as service:
        yield service


def test_slow_clients_are_answered_408_and_cut_while_others_are_served(strict: Running) -> None:
    with contextlib.ExitStack() as stack:
        connections = {name: stack.enter_context(connected(strict.url)) for name in SLOW}
        for name, (sent, _) in SLOW.items():
            connections[name].sendall(sent.encode())
        assert strict.chat()["model"] == "attune@0"
        received = {name: until_closed(connection) for name, connection in connections.items()}
    statuses = {
        name: parsed(data.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")).status for name, data in received.items()
    }
    assert statuses == {name: status for name, (_, status) in SLOW.items()}
    assert parsed(received["half a body"]).error["code"] == "request_timeout"


def test_a_client_that_dribbles_headers_is_cut_too(strict: Running) -> None:
    """Each byte comes within the deadline, and all of them together do not."""
    with connected(strict.url) as connection:
        connection.settimeout(0.05)
        received = b""
        for _ in range(1000):
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"X")
            try:
                received += connection.recv(65536)
                break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            pytest.fail("the connection was never closed")
    assert parsed(received).status in (0, 400, 408)


def test_a_body_that_comes_steadily_has_the_time_it_needs(strict: Running) -> None:
    """More bytes than the deadline alone has room for: what came buys time."""
    body = ("[" + " " * 900_000 + "]").encode()
    with connected(strict.url) as connection:
        connection.sendall(
            f"POST /v1/import HTTP/1.1\r\n{JSON}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        connection.settimeout(0.2)
        connection.sendall(body[:500_000])
        with contextlib.suppress(TimeoutError):
            connection.recv(1)  # a pause, which alone is within what the first half bought
        with contextlib.suppress(TimeoutError):
            connection.recv(1)
        connection.sendall(body[500_000:])
        connection.settimeout(20)
        assert parsed(until_closed(connection)).status == 200


def test_a_body_that_the_service_does_not_read_yet_is_not_late(
    strict: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*given: Any) -> Any:
        time.sleep(1.0)  # more than the body has
        return find_caller(*given)

    monkeypatch.setattr(dependencies, "find_caller", slow)
    body = ("[" + " " * 900_000 + "]").encode()
    head = f"POST /v1/import HTTP/1.1\r\n{JSON}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    assert exchange(strict.url, head.encode() + body).status == 200


def test_what_follows_the_last_request_of_a_connection_is_not_answered(shared: Running) -> None:
    with connected(shared.url) as connection:
        connection.sendall(get("/v1/models") + get("/v1/models"))
        assert until_closed(connection).count(b"HTTP/1.1 ") == 1


def test_headers_have_a_limit(shared: Running) -> None:
    for request in (
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: " + b"a" * MAX_HEADER_BYTES * 2,
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: a\r\n" * MAX_HEADER_BYTES,
        b"GET /" + b"a" * MAX_HEADER_BYTES * 2,
    ):
        assert exchange(shared.url, request).status in (0, 400, 431)  # 0: closed while it was still sending
    kept = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-A: " + b"a" * 30_000 + b"\r\n\r\n"
    assert exchange(shared.url, kept).status == 200


@pytest.mark.parametrize("request_text", MALFORMED.values(), ids=MALFORMED)
def test_what_two_readers_could_read_differently_is_refused(strict: Running, request_text: str) -> None:
    """One response, an error, and the connection ends: what follows is never taken for a second request."""
    follow_up = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connected(strict.url) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request_text.encode("latin-1") + follow_up)
        received = until_closed(connection)
    assert received.count(b"HTTP/1.1 ") <= 1
    assert parsed(received).status in (0, 400, 405, 408)
    assert b"attune@0" not in received


def test_what_follows_a_chunked_body_is_no_header(served: Running) -> None:
    with served.db() as db:
        db.execute("INSERT INTO raters (id, name, created_at) VALUES ('nobody', '', '2026-01-01')")
    body = f"{len(CHAT):x}\r\n{CHAT}\r\n0\r\nX-Attune-Rater: nobody\r\n\r\n"
    head = f"POST /v1/chat/completions HTTP/1.1\r\n{JSON}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert exchange(served.url, (head + body).encode()).status == 200
    with served.db() as db:
        assert {row["rater_id"] for row in db.query("SELECT rater_id FROM conversations")} == {"local"}


def test_no_other_protocol_is_spoken(shared: Running) -> None:
    for upgrade in ("websocket", "h2c"):
        lines = ("Upgrade: " + upgrade, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
        request = get("/v1/models", *lines).replace(b"Connection: close", b"Connection: Upgrade, close")
        assert exchange(shared.url, request).status == 200


@pytest.mark.parametrize("cut", [0, 60, 200, -10])
def test_a_request_that_asks_for_another_protocol_keeps_its_body(shared: Running, cut: int) -> None:
    """The body would else be the next request, which a proxy in front had never seen."""
    ask = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
    inner = get("/v1/models").decode()
    in_chunks = f"{len(CHAT):x}\r\n{CHAT}\r\n0\r\n\r\n"
    for length, body in ((f"Content-Length: {len(CHAT)}", CHAT), ("Transfer-Encoding: chunked", in_chunks)):
        outer = f"POST /v1/chat/completions HTTP/1.1\r\n{JSON}{ask}{length}\r\n\r\n{body}".encode()
        with connected(shared.url) as connection:
            connection.sendall(outer[:cut])
            time.sleep(0.05)  # so that the service reads the parts one by one
            connection.sendall(outer[cut:] + 2 * outer + inner.encode())
            received = until_closed(connection)
        assert received.count(b"HTTP/1.1 200 OK") == received.count(b"HTTP/1.1 ") == 4
        assert received.count(b'"chat.completion"') == 3


def test_connections_of_one_address_are_bounded(tmp_path: Path) -> None:
    with running(tmp_path / "data", limits__connections_per_address=4) as served:
        served.http.close()
        bounds = served.bounds
        wait_until(lambda: not bounds.open)
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(connected(served.url))
            wait_until(lambda: bounds.open.total() == 4)
            response = exchange(served.url, get("/healthz"))
            assert (response.status, response.error["code"]) == (503, "too_many_connections")
            assert int(response.headers["retry-after"]) >= 1
            assert "limits.connections_per_address" in response.error["message"]
            many = [stack.enter_context(connected(served.url)) for _ in range(20)]  # they are not even answered
            assert [until_closed(one) for one in many].count(b"") >= 10
        wait_until(lambda: not bounds.open)
        assert httpx.get(served.url + "/healthz").status_code == 200


def test_a_client_that_reads_nothing_is_cut(tmp_path: Path) -> None:
    with running(tmp_path / "data", limits__unread_s=0.3) as served:
        served.chat()
        with served.db() as db:
            long = "x" * 500_000
            db.table("events").insert_all(
                {"kind": "noise", "data": f'{{"n": "{long}"}}', "created_at": "2026"} for _ in range(40)
            )
        bounds = served.bounds
        served.http.close()
        wait_until(lambda: not bounds.open)
        with connected(served.url) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(b"GET /v1/events?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_until(lambda: served.service.event_streams.open.total() == 1)
            wait_until(lambda: not bounds.open, 20)
            wait_until(lambda: not served.service.event_streams.open)
