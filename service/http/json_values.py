"""The one check of values that come from outside: in bodies, paths, queries, webhooks and imports. Pure.

JSON as Python reads it holds more than a database, a tokenizer or another JSON reader takes: numbers that are no
number or need more than 64 bits, halves of surrogate pairs, the character NUL, and nesting that exhausts the stack.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 64  # lists and objects inside one another
MAX_INTEGER = 2**63 - 1  # the largest integer that SQLite stores
MIN_INTEGER = -(2**63)
MAX_NUMBER = 2**53 - 1  # of versions, rows and counts: what every JSON reader holds exactly
_BAD_CHARACTER = re.compile("[\x00\ud800-\udfff]")
_SHOWN = 40  # characters of a value in a message
Path = tuple[str | int, ...]


class BadValue(ValueError):
    """A value that is not taken. `path` leads to it inside the JSON; the message does not repeat the path."""

    def __init__(self, reason: str, path: Path = ()) -> None:
        super().__init__(reason)
        self.path = path

    @property
    def field(self) -> str:
        """The field at fault in the caller's terms, "" for the whole."""
        return field_of(self.path)

    @property
    def described(self) -> str:
        """The reason after the field that is at fault, if any."""
        return f"{self.field}: {self}" if self.path else str(self)


class NotJson(ValueError):
    """Bytes that are no JSON."""


def json_value(body: bytes) -> Any:
    """Return the JSON value of a body. Raises NotJson, and BadValue for a value that is not taken."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotJson(f"it is not UTF-8 text ({error.reason} at byte {error.start})") from error
    numbers = _Numbers()
    try:
        value = json.loads(text, parse_int=numbers.integer, parse_float=numbers.real, parse_constant=numbers.constant)
    except RecursionError as error:
        raise BadValue(_TOO_DEEP) from error
    except ValueError as error:
        raise NotJson(str(error)) from error
    if numbers.has_bad or "\\u" in text:  # without an escape no text is bad, and most bodies are not walked
        check_value(value)
    elif text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise BadValue(_TOO_DEEP)
    return value


def check_value(value: Any) -> None:
    """Raise BadValue for the first value inside a JSON value that is not taken."""
    if _depth(value) > MAX_DEPTH:
        raise BadValue(_TOO_DEEP)
    for path, one in _leaves(value):
        if reason := _reason(one):
            raise BadValue(reason, path)


def check_text(text: str, name: str) -> None:
    """Raise BadValue for a text of the path, the query or a header that is not taken."""
    if reason := _reason(text):
        raise BadValue(reason, (name,))


def field_of(path: Path) -> str:
    """Return a path in the caller's terms: `messages[1].content`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def shown(value: Any) -> str:
    """Return a value for a message, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str) if not isinstance(value, float) else repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


_TOO_DEEP = f"lists and objects lie more than {MAX_DEPTH} deep in one another"


class _Numbers:
    """Makes the numbers of one JSON text, and notes whether one of them is not taken.

    A search of the text for them would keep other threads waiting: 65 ms for 4 MB.
    """

    def __init__(self) -> None:
        self.has_bad = False

    def integer(self, digits: str) -> int:
        value = int(digits) if len(digits) <= 20 else MAX_INTEGER + 1  # int() takes the square of the digits in time
        self.has_bad |= not MIN_INTEGER <= value <= MAX_INTEGER
        return value

    def real(self, digits: str) -> float:
        value = float(digits)
        self.has_bad |= not math.isfinite(value)
        return value

    def constant(self, name: str) -> float:
        self.has_bad = True
        return float(name)


def _depth(value: Any) -> int:
    """Return how deep lists and objects lie in one another; what is deeper than MAX_DEPTH counts as one more."""
    level, depth = [value] if isinstance(value, (dict, list)) else [], 0
    while level and depth <= MAX_DEPTH:
        depth += 1
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
    return depth


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Give keys and plain values with their paths; a key comes with the path of its object."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield path, key
            yield from _leaves(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _leaves(child, (*path, index))
    else:
        yield path, value


def _reason(value: Any) -> str:
    """Return why a key or a plain value is not taken, "" if it is."""
    if isinstance(value, str):
        found = _BAD_CHARACTER.search(value)
        if found is None:
            return ""
        if found.group() == "\x00":
            return "the character NUL is not taken in text"
        return f"{found.group()!a} is half of a surrogate pair and no character"
    if isinstance(value, float) and not math.isfinite(value):
        return "a number must be finite and fit 64 bits"
    if isinstance(value, int) and not MIN_INTEGER <= value <= MAX_INTEGER:
        return "an integer must fit 64 bits: at most 2^63 - 1"
    return ""
