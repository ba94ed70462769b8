"""The header of a GGUF file: its metadata and tensors. Nothing is loaded, and a torn file is found at once."""

import mmap
import struct
from collections.abc import Container
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from policy.errors import ModelCorrupt, UnsupportedModel

MAGIC = b"GGUF"
VERSIONS = (2, 3)
_FORMATS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
MAX_DEPTH = 4  # of arrays in arrays


@dataclass(frozen=True)
class GgufTensor:
    """One tensor: its name, shape, GGML type number, and size in bytes."""

    name: str
    shape: tuple[int, ...]
    kind: int
    size: int


@dataclass(frozen=True)
class GgufHeader:
    """Metadata by key, and the tensors. Of an array that nobody asked for, `metadata` has the length alone."""

    metadata: dict[str, Any]
    tensors: tuple[GgufTensor, ...]

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the model's shape."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def num_weights(self) -> int:
        """How many numbers the tensors hold."""
        return sum(prod(tensor.shape) for tensor in self.tensors)


def is_gguf(path: Path) -> bool:
    """Whether a file begins as GGUF files do."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_header(path: Path, arrays: Container[str] = ()) -> GgufHeader:
    """Return a GGUF file's header, with the values of the arrays that `arrays` names.

    Raises ModelCorrupt for a torn file and for one that is no GGUF, UnsupportedModel for an unknown version or type.
    """
    if not is_gguf(path):
        raise ModelCorrupt(f"{path} is no GGUF file; name a model's folder, or a file that begins with GGUF")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            header, end = _header(data, arrays, path)
            there = len(data)
    except (struct.error, ValueError, UnicodeDecodeError, IndexError, KeyError, OverflowError) as error:
        if isinstance(error, ModelCorrupt | UnsupportedModel):
            raise
        raise ModelCorrupt(f"{path} is torn: its header ends too early; fetch the file again") from error
    if there < end:
        raise ModelCorrupt(f"{path} is torn: {there} bytes of {end}; fetch the file again")
    return header


class _Cursor:
    """Reads values one after another."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 4

    def number(self, form: str) -> Any:
        value = struct.unpack_from(form, self.data, self.at)[0]
        self.at += struct.calcsize(form)
        return value

    def octets(self) -> bytes:
        size = self.number("<Q")
        self.skip(size)
        return self.data[self.at - size : self.at]

    def skip(self, size: int) -> None:
        if size > len(self.data) - self.at:
            raise ValueError("past the end")
        self.at += size

    def value(self, kind: int, wanted: bool, depth: int = 0) -> Any:
        if kind == _STRING:
            return self.octets().decode("utf-8", "replace")
        if kind != _ARRAY:
            return self.number(_FORMATS[kind])
        inner, length = self.number("<I"), self.number("<Q")
        if depth > MAX_DEPTH:
            raise ValueError("arrays too deep")
        if inner in _FORMATS and not wanted:
            self.skip(struct.calcsize(_FORMATS[inner]) * length)
            return length
        if length > len(self.data) - self.at:
            raise ValueError("past the end")
        values = []
        for _ in range(length):
            if wanted:
                values.append(self.value(inner, True, depth + 1))
            elif inner == _STRING:
                self.skip(self.number("<Q"))
            else:
                self.value(inner, False, depth + 1)
        return values if wanted else length


def _header(data: mmap.mmap, arrays: Container[str], path: Path) -> tuple[GgufHeader, int]:
    """Return the header, and the size in bytes that the whole file has."""
    from gguf import GGML_QUANT_SIZES

    sizes = {int(kind): size for kind, size in GGML_QUANT_SIZES.items()}
    cursor = _Cursor(data)
    version = cursor.number("<I")
    if version not in VERSIONS:
        raise UnsupportedModel(f"{path} is GGUF of version {version}; convert it with a llama.cpp of today")
    num_tensors, num_values = cursor.number("<Q"), cursor.number("<Q")
    metadata: dict[str, Any] = {}
    for _ in range(num_values):
        key = cursor.octets().decode()
        metadata[key] = cursor.value(cursor.number("<I"), key in arrays)
    tensors, last = [], 0
    for _ in range(num_tensors):
        name = cursor.octets().decode()
        shape = tuple(cursor.number("<Q") for _ in range(cursor.number("<I")))
        kind, offset = cursor.number("<I"), cursor.number("<Q")
        if kind not in sizes:
            raise UnsupportedModel(f"{path} holds {name} as type {kind}, which is unknown here; upgrade gguf with pip")
        block, width = sizes[kind]
        size = prod(shape) // block * width
        tensors.append(GgufTensor(name, shape, kind, size))
        last = max(last, offset + size)
    alignment = int(metadata.get("general.alignment", 32))
    begin = -(-cursor.at // max(1, alignment)) * max(1, alignment)
    return GgufHeader(metadata, tuple(tensors)), begin + last if tensors else cursor.at
