"""Server-sent events (WHATWG HTML, section 9.2), read from bytes as they arrive.

We split lines ourselves: httpx also ends a line at characters that JSON text may contain, such as U+2028.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from attune._error_parsing import error_from_event
from attune._errors import UnexpectedResponse

DONE = "[DONE]"


@dataclass(frozen=True)
class ServerEvent:
    """One event of a stream."""

    data: str
    event: str = ""
    id: str = ""


class EventReader:
    """Splits a stream of bytes into events; it keeps an incomplete event until more bytes arrive."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []
        self._event = ""
        self._id = ""

    def feed(self, received: bytes) -> list[ServerEvent]:
        """Return the events that these bytes complete."""
        *lines, self._rest = (self._rest + received).split(b"\n")
        found = [self._line(line.removesuffix(b"\r").decode("utf-8", "replace")) for line in lines]
        return [event for event in found if event is not None]

    def _line(self, line: str) -> ServerEvent | None:
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                self._data.append(value)
            elif name == "event":
                self._event = value
            elif name == "id":
                self._id = value
            return None
        event = ServerEvent("\n".join(self._data), self._event, self._id) if self._data else None
        self._data, self._event = [], ""
        return event


def json_of(event: ServerEvent) -> dict[str, Any]:
    """Return the JSON object of an event.

    Raises ServerError when the service sent an error, UnexpectedResponse when the data is no object.
    """
    try:
        data = json.loads(event.data)
    except ValueError:
        raise UnexpectedResponse(f"The service streamed {event.data[:60]!r}, which is no JSON.") from None
    if not isinstance(data, dict):
        raise UnexpectedResponse(f"The service streamed {event.data[:60]!r}, which is no JSON object.")
    if isinstance(data.get("error"), dict) and "choices" not in data:
        raise error_from_event(data["error"])
    return data
