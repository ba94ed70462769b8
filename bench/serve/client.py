"""A client that costs next to nothing: it shares the processors with the server that it measures.

While answers come it only keeps what arrives, and when. It reads the events afterwards.
"""

import json
import selectors
import socket
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any
from urllib.parse import urlsplit

from bench.serve.answers import Answer, ServerFailed

LIMIT_S = 900.0  # without a byte from any server
MOST_BYTES = 1 << 16

Arrived = list[tuple[float, bytes]]  # what arrived, and when


def ask_at_once(url: str, path: str, bodies: Sequence[dict[str, Any]]) -> list[Answer]:
    """Send all requests, each over a connection of its own, and read their streams to the end.

    Raises ServerFailed for a refused request, an error in a stream, or a server that is silent.
    """
    address = urlsplit(url)
    requests = [_request(address.netloc, path, body) for body in bodies]
    with selectors.DefaultSelector() as selector:
        began: list[float] = []
        found: list[Arrived] = [[] for _ in bodies]
        for index, request in enumerate(requests):
            connection = socket.create_connection((address.hostname or "", address.port or 80), timeout=60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            began.append(time.monotonic())
            connection.sendall(request)
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ, index)
        _read_all(selector, found)
    return [_answer(began, arrived) for began, arrived in zip(began, found, strict=True)]


def _request(host: str, path: str, body: dict[str, Any]) -> bytes:
    payload = json.dumps(body).encode()
    head = (f"POST {path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json", "Connection: close")
    return "\r\n".join([*head, f"Content-Length: {len(payload)}", "", ""]).encode() + payload


def _read_all(selector: selectors.BaseSelector, found: list[Arrived]) -> None:
    """Read until each connection is closed."""
    while selector.get_map():
        ready = selector.select(LIMIT_S)
        if not ready:
            raise ServerFailed(f"nothing came for {LIMIT_S:g} s")
        for key, _ in ready:
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            data = connection.recv(MOST_BYTES)
            if data:
                found[key.data].append((time.monotonic(), data))
            else:
                selector.unregister(connection)
                connection.close()


def _answer(began: float, arrived: Arrived) -> Answer:
    """Return the answer that a stream holds. Raises ServerFailed."""
    arrivals: list[float] = []
    texts: list[str] = []
    usage: dict[str, int] = {}
    for at, event in _events(arrived):
        if "error" in event:
            raise ServerFailed(f"an error in the stream: {json.dumps(event['error'])[:300]}")
        usage = event.get("usage") or usage
        for choice in event.get("choices", ()):
            delta = choice.get("delta", {})
            if text := delta.get("content") or delta.get("reasoning_content"):
                arrivals.append(at)
                texts.append(text)
    if not usage or not arrivals:
        raise ServerFailed(f"a stream without {'text' if usage else 'a count of its tokens'}")
    return Answer(began, tuple(arrivals), usage["completion_tokens"], usage["prompt_tokens"], "".join(texts))


def _events(arrived: Arrived) -> Iterator[tuple[float, dict[str, Any]]]:
    """Yield the stream's events and when each was whole."""
    rest = b""
    for at, data in _body(arrived):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                yield at, json.loads(line[5:])


def _body(arrived: Arrived) -> Iterator[tuple[float, bytes]]:
    """Yield the parts of a response's body, without the marks of chunks. Raises ServerFailed for another status."""
    whole, ends = b"".join(data for _, data in arrived), list(accumulate(len(data) for _, data in arrived))
    head, _, _ = whole.partition(b"\r\n\r\n")
    status = head.split(b"\r\n")[0].decode(errors="replace")
    if " 200" not in status:
        raise ServerFailed(f"{status or 'a closed connection'}: {whole[len(head) :][:300].decode(errors='replace')}")
    begin = len(head) + 4
    if b"transfer-encoding: chunked" not in head.lower():
        for (at, data), end in zip(arrived, ends, strict=True):
            yield at, data[max(0, begin - (end - len(data))) :]
        return
    while begin < len(whole):
        line = whole.index(b"\r\n", begin)
        size = int(whole[begin:line].partition(b";")[0], 16)
        if size:
            end = line + 2 + size
            yield arrived[bisect_left(ends, end)][0], whole[line + 2 : end]
        begin = line + 4 + size
