"""The OpenVINO models of the base model and of its versions, in the cache folder.

The base model is converted once. A learned version is a copy of its file in which the changed matrices are written
over, which takes a tenth of the time. Where that cannot be done, the merged weights are converted.
"""

import logging
import os
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from policy.gguf_files import weights_key
from policy.model import resolve_model
from policy.openvino_ir import MODEL, write_ir
from policy.runners.base import RunnerOptions, VersionSource
from policy.weights import Array, changed_tensors, model_tensors

log = logging.getLogger(__name__)
KEPT = 8  # folders in the cache, of the versions used last; others are made again in seconds
BINARY = MODEL.replace(".xml", ".bin")
_IR = re.compile(r"[^.].*-(f16|q8_0|q4_0)")  # names made by ir_of
_HALF = re.compile(r"\..+-(?:f16|q8_0|q4_0)(?:\.gguf)?\.(\d+)")  # temporary names, with the process id
_LAYER = re.compile(r"\.layers\.(\d+)\.")


def ir_of(source: VersionSource, options: RunnerOptions) -> Path:
    """Return the folder of a version's OpenVINO model, from the cache if it is there."""
    dtype, compressed = _kind(options)
    path, base_path = _paths(source, options)
    base = resolve_model(source.base)
    if not base_path.exists():
        log.info("the model in %s is converted", base)
        write_ir(base, None, base_path, dtype, compressed=compressed)
    if path != base_path and not path.exists():
        _used(base_path)
        if not (dtype == "f16" and write_over(base_path, _changes(source, base), path)):
            write_ir(source.full or base, source.adapter, path, dtype, compressed=compressed)
    return _used(path)


def discard(source: VersionSource, options: RunnerOptions) -> None:
    """Remove a version's OpenVINO model from the cache, and the base model's, of which it may be a copy."""
    for path in _paths(source, options):
        shutil.rmtree(path, ignore_errors=True)


def _paths(source: VersionSource, options: RunnerOptions) -> tuple[Path, Path]:
    """Return the folders of a version's and the base model's OpenVINO models: one folder for the base model itself."""
    dtype, compressed = _kind(options)
    kind = dtype if compressed else f"wide-{dtype}"
    base = source.cache / f"base-{weights_key(resolve_model(source.base))}-{kind}"
    is_base = source.adapter is None and source.full is None
    return base if is_base else source.made / f"{source.digest[:32]}-{kind}", base


def _kind(options: RunnerOptions) -> tuple[str, bool]:
    """Return the type of the weights, and whether they stay compressed in memory."""
    return options.quantize if options.quantize != "none" else "f16", options.precision == "float32"


def _changes(source: VersionSource, base: Path) -> Iterator[tuple[str, Array]]:
    if source.full is not None:
        return model_tensors(source.full)
    assert source.adapter is not None
    return changed_tensors(base, source.adapter)


def write_over(model: Path, changes: Iterable[tuple[str, Array]], out: Path) -> bool:
    """Write a copy of an OpenVINO model with other matrices to `out`, completely or not at all.

    Returns False, with nothing written, if one of them is not found under its name as float16 in the same shape.
    """
    constants = _constants(model / MODEL)
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        shutil.copyfile(model / BINARY, temporary / BINARY)
        shutil.copyfile(model / MODEL, temporary / MODEL)
        numbers = np.memmap(temporary / BINARY, mode="r+", dtype=np.uint8)
        for name, tensor in changes:
            shape, begin = constants.get(_LAYER.sub(r".layers[\1].", name), ((), 0))
            if not shape or shape != tensor.shape:
                return False
            numbers[begin : begin + 2 * tensor.size].view(np.float16)[:] = tensor.reshape(-1)
        del numbers
        shutil.rmtree(out, ignore_errors=True)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _constants(path: Path) -> dict[str, tuple[tuple[int, ...], int]]:
    """Return the shape of each float16 constant of a model and where it begins in the file, by its name.

    Equal constants are one in the file, so those are left out.
    """
    layers = [layer for layer in ElementTree.parse(path).iter("layer") if layer.get("type") == "Const"]
    entries = [(layer.get("name", ""), data) for layer in layers if (data := layer.find("data")) is not None]
    users = Counter(data.get("offset") for _, data in entries)
    return {
        name: (tuple(map(int, data.get("shape", "").split(","))), int(data.get("offset", 0)))
        for name, data in entries
        if data.get("element_type") == "f16" and data.get("shape") and users[data.get("offset")] == 1
    }


def _used(folder: Path) -> Path:
    """Mark a folder as used now, and clean the cache."""
    os.utime(folder)
    clean(folder.parent)
    return folder


def clean(cache: Path) -> None:
    """Remove from the cache all but the folders used last, leftovers of dead workers, and GGUF files.

    Other files in the cache stay. A runner that has a folder open can go on using it.
    """
    made = [folder for folder in cache.iterdir() if _IR.fullmatch(folder.name)]
    unused = sorted(made, key=_used_at, reverse=True)[KEPT:]
    half = [
        path
        for path in cache.iterdir()
        if (found := _HALF.fullmatch(path.name)) is not None and not _is_alive(int(found[1]))
    ]
    for path in [*unused, *half, *cache.glob("*.gguf")]:  # older versions of Attune cached GGUF files
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _used_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # another worker may clean at the same time
        return 0.0


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the process of another user
        return True
    return True
