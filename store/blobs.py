"""Token ids and log-probabilities as compact blobs: little-endian uint32 and float32, four bytes a token."""

import sys
from array import array
from collections.abc import Sequence


def _bytes(values: "array[int] | array[float]") -> bytes:
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def pack_ids(ids: Sequence[int]) -> bytes:
    """Return token ids as uint32, little-endian. Raises OverflowError for a negative id."""
    return _bytes(array("I", ids))


def pack_logps(logps: Sequence[float]) -> bytes:
    """Return log-probabilities (nats) as float32, little-endian."""
    return _bytes(array("f", logps))


def unpack_ids(blob: bytes) -> list[int]:
    """Return the token ids of `pack_ids`."""
    values = array("I", blob)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()


def unpack_logps(blob: bytes) -> list[float]:
    """Return the log-probabilities of `pack_logps`."""
    values = array("f", blob)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()
