"""Cutting a long body into records as its bytes come, so that nothing but one record is held at a time. Pure."""

import json
from collections.abc import Iterator

import numpy as np

Record = tuple[int, bytes | ValueError]
"""The number of a record, from 1, and its bytes or what is wrong with it."""
_BOM = b"\xef\xbb\xbf"
_SPACES = b" \t\r\n"
_QUOTE, _COMMA, _OPENS, _CLOSES = ord('"'), ord(","), b"[{", b"]}"


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
        return isinstance(json.loads(body), dict)  # what is wrong with its values is found when it is read
    except (ValueError, RecursionError):  # so deep that nobody sees its end: other records may stand behind it
        return False


class _Pending:
    """A record whose end has not come yet."""

    def __init__(self, max_bytes: int) -> None:
        self.number, self._max_bytes = 1, max_bytes
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the record has come yet."""
        return self._size == 0

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
        *ended, rest = block.split(b"\n")
        for part in ended:
            if not part and self._pending.is_empty:  # a blank line: a body may have nothing else
                self._pending.number += 1
                continue
            self._pending.add(part)
            yield from _unless_blank(self._pending.end())
        self._pending.add(rest)

    def finish(self) -> Iterator[Record]:
        yield from _unless_blank(self._pending.end())


class _Elements:
    """The elements of a JSON array. Whole blocks are looked at with numpy: a body may be nothing but brackets."""

    def __init__(self, max_bytes: int) -> None:
        self._pending = _Pending(max_bytes)
        self._depth = 0  # of brackets that are open, the array's own included
        self._held_back = b""  # half of an escape
        self._in_string = self._has_ended = self._has_rest = False

    def feed(self, block: bytes) -> Iterator[Record]:
        block = self._held_back + block
        is_half = (len(block) - len(block.rstrip(b"\\"))) % 2 == 1
        self._held_back = block[-1:] if is_half else b""
        block = block[:-1] if is_half else block
        if self._has_ended or not block:
            self._has_rest = self._has_rest or bool(block.strip(_SPACES))
            return
        start = 0 if self._depth else 1  # without the array's own bracket
        for end, is_last in self._ends(block):
            self._pending.add(block[start:end])
            start = end + 1
            record = self._pending.end()
            yield from _unless_blank(record) if is_last else [record]
            if is_last:
                self._has_ended, self._has_rest = True, bool(block[start:].strip(_SPACES))
                return
        self._pending.add(block[start:])

    def finish(self) -> Iterator[Record]:
        if not self._has_ended:
            number, _ = self._pending.end()
            yield number, ValueError("the array ends in the middle of it")
        elif self._has_rest or self._held_back:
            yield self._pending.number, ValueError("there is more after the end of the array")

    def _ends(self, block: bytes) -> list[tuple[int, bool]]:
        """Return where elements end in a block, and whether the array ends there too."""
        marks = np.frombuffer(block.replace(b"\\\\", b"__").replace(b'\\"', b"__"), np.uint8)
        in_string = (np.cumsum(marks == _QUOTE, dtype=np.uint8) + self._in_string) & 1
        marks = np.where(in_string, 0, marks)
        closes = (marks == _CLOSES[0]) | (marks == _CLOSES[1])
        opens = (marks == _OPENS[0]) | (marks == _OPENS[1])
        depth = self._depth + np.cumsum(opens.astype(np.int8) - closes.astype(np.int8), dtype=np.int32)
        self._in_string, self._depth = bool(in_string[-1]), int(depth[-1])
        ends = np.flatnonzero(((marks == _COMMA) & (depth == 1)) | (closes & (depth == 0)))
        return [(int(end), bool(closes[end])) for end in ends]


def _unless_blank(record: Record) -> Iterator[Record]:
    if record[1] != b"":
        yield record
