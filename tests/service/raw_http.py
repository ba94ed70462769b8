"""Requests byte by byte, for what no HTTP client would send."""

import contextlib
import json
import socket
from collections.abc import Generator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

PATIENCE_S = 20.0  # only so that a test fails instead of hanging


class RawResponse(NamedTuple):
    """What came back: the status (0 for a connection closed without an answer), headers and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """OpenAI's error object."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


@contextlib.contextmanager
def connected(url: str) -> Generator[socket.socket, None, None]:
    """An open connection to the service."""
    split = urlsplit(url)
    with socket.create_connection((split.hostname, split.port), timeout=PATIENCE_S) as connection:
        yield connection


def until_closed(connection: socket.socket) -> bytes:
    """Return all that comes until the service closes the connection. Raises TimeoutError when it does not."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            received += part
    return received


def parsed(received: bytes) -> RawResponse:
    """Return the first response in these bytes."""
    if not received:
        return RawResponse(0, {}, b"")
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "content-length" in headers:
        body = body[: int(headers["content-length"])]
    return RawResponse(int(first.split()[1]), headers, body)


def exchange(url: str, request: bytes) -> RawResponse:
    """Send bytes, and return the response. The service is to close the connection, or the request asks for that."""
    with connected(url) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
        return parsed(until_closed(connection))


def get(path: str, *lines: str, host: str | None = "127.0.0.1", method: str = "GET", version: str = "1.1") -> bytes:
    """Return a request without a body, after which the connection ends."""
    named = [f"Host: {host}"] if host is not None else []
    return "\r\n".join([f"{method} {path} HTTP/{version}", *named, "Connection: close", *lines, "", ""]).encode(
        "latin-1"
    )
