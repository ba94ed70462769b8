"""Cutting a long body into records as its bytes come, so that nothing but one record is held at a time. Pure."""

import re
from collections.abc import Iterator

from service.http.json_values import BadValue, NotJson, json_value

Record = tuple[int, bytes | ValueError]
"""The number of a record, from 1, and its bytes or what is wrong with it."""
_BOM = b"\xef\xbb\xbf"
_SPACES = b" \t\r\n"
_BETWEEN = re.compile(rb'["\[\]{},]')  # what matters between the elements of an array
_INSIDE = re.compile(rb'["\[\]{}]')  # what matters inside an element
_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)  # the rest of a string, up to its end or half an escape


class RecordSplitter:
    """Cuts JSON Lines at line feeds and a JSON array between its elements.

    A body of one JSON object, on however many lines, is one record. A record of more than `max_bytes` is dropped as it
    comes, and given as a fault. Elements are found by brackets and quotes alone: one that is no JSON spoils no other
    where it has these in pairs.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._start = b""  # the body until it is known what it is
        self._cutter: _Lines | _Elements | None = None

    def feed(self, block: bytes) -> Iterator[Record]:
        """Give the records that end in a block of the body. Read them all before the next block."""
        if self._cutter is None:
            self._start += block
            if len(self._start) <= self._max_bytes and self._text()[:1] != b"[":
                return  # it may be one object
            yield from self._begin()
        else:
            yield from self._cutter.feed(block)

    def finish(self) -> Iterator[Record]:
        """Give the records that end with the body."""
        if self._cutter is None:
            if _is_one_object(self._start):
                yield 1, self._start
                return
            yield from self._begin()
        assert self._cutter is not None
        yield from self._cutter.finish()

    def _text(self) -> bytes:
        return self._start[:256].removeprefix(_BOM).lstrip(_SPACES)

    def _begin(self) -> Iterator[Record]:
        start, self._start = self._start.removeprefix(_BOM), b""
        is_array = start[:256].lstrip(_SPACES)[:1] == b"["
        self._cutter = _Elements(self._max_bytes) if is_array else _Lines(self._max_bytes)
        yield from self._cutter.feed(start.lstrip(_SPACES) if is_array else start)


def _is_one_object(body: bytes) -> bool:
    if b"\n" not in body.strip(_SPACES):
        return False  # one line is a record anyway
    try:
        return isinstance(json_value(body), dict)
    except NotJson:
        return False
    except BadValue:
        return True  # it is JSON, and the fault is found again when it is read


class _Pending:
    """A record whose end has not come yet."""

    def __init__(self, max_bytes: int) -> None:
        self.number, self._max_bytes = 1, max_bytes
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= self._max_bytes:
            self._parts.append(part)
        else:
            self._parts.clear()

    def end(self) -> Record:
        """Return the record, and begin the next."""
        text, size, number = b"".join(self._parts).strip(_SPACES), self._size, self.number
        self._parts, self._size, self.number = [], 0, number + 1
        if size > self._max_bytes:
            return number, ValueError(f"it has {size} bytes; a record may have {self._max_bytes}")
        return number, text


class _Lines:
    """The lines of JSON Lines that are not blank; a number is the line's."""

    def __init__(self, max_bytes: int) -> None:
        self._pending = _Pending(max_bytes)

    def feed(self, block: bytes) -> Iterator[Record]:
        start = 0
        while (end := block.find(b"\n", start)) >= 0:
            self._pending.add(block[start:end])
            yield from _unless_blank(self._pending.end())
            start = end + 1
        self._pending.add(block[start:])

    def finish(self) -> Iterator[Record]:
        yield from _unless_blank(self._pending.end())


class _Elements:
    """The elements of a JSON array."""

    def __init__(self, max_bytes: int) -> None:
        self._pending = _Pending(max_bytes)
        self._depth = 0  # of brackets that are open, the array's own included
        self._in_string = self._in_escape = self._has_ended = self._has_rest = False

    def feed(self, block: bytes) -> Iterator[Record]:
        position = start = 0
        while position < len(block):
            if self._has_ended:
                self._has_rest = self._has_rest or bool(block[position:].strip(_SPACES))
                return
            if self._in_string:
                position = self._after_string(block, position)
                continue
            found = (_BETWEEN if self._depth <= 1 else _INSIDE).search(block, position)
            if found is None:
                break
            mark, position = found.group(), found.end()
            if mark == b'"':
                self._in_string = True
            elif mark in b"[{":
                self._depth += 1
                if self._depth == 1:
                    start = position  # the array's own bracket
            elif mark == b"," or self._depth == 1:
                self._pending.add(block[start : position - 1])
                start = position
                self._has_ended = mark != b","
                record = self._pending.end()
                yield from _unless_blank(record) if self._has_ended else [record]
            else:
                self._depth -= 1
        if not self._has_ended:
            self._pending.add(block[start:])

    def finish(self) -> Iterator[Record]:
        if not self._has_ended:
            number, _ = self._pending.end()
            yield number, ValueError("the array ends in the middle of it")
        elif self._has_rest:
            yield self._pending.number, ValueError("there is more after the end of the array")

    def _after_string(self, block: bytes, position: int) -> int:
        """Return the position after a string, or the block's end where the string goes on in the next block."""
        if self._in_escape:
            self._in_escape, position = False, position + 1
        found = _STRING.match(block, position)
        assert found is not None
        end = found.end()
        if end >= len(block):
            return len(block)
        self._in_escape = block[end : end + 1] == b"\\"
        self._in_string = self._in_escape
        return end + 1


def _unless_blank(record: Record) -> Iterator[Record]:
    if record[1] != b"":
        yield record
