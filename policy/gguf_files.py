"""The GGUF files of the llama.cpp runner, in a folder of its own in the cache.

Base weights are written once for each model and weight type, and the runners of all versions map them. A learned
version is an adapter file of a few megabytes beside them.
"""

import hashlib
import os
import time
from pathlib import Path

import numpy as np

from policy.errors import UnsupportedModel
from policy.gguf import write_gguf
from policy.gguf_shapes import ARCHITECTURES, as_stored, reasons_against_gguf, tensor_name
from policy.model import read_config, weight_files
from policy.weights import HEAD, lora_changes

KEPT = {"base": 2, "merged": 2, "adapter": 16}  # files of a kind, those used last; others are made again when needed
HALF_S = 3600.0  # seconds after which a temporary file was left by a dead worker


def base_gguf(folder: Path, cache: Path, dtype: str) -> Path:
    """Return the file of a model folder's weights, written if it is missing. Raises UnsupportedModel."""
    path = _folder(cache) / f"base-{weights_key(folder)}-{dtype}.gguf"
    if not path.exists():
        write_gguf(folder, None, path, dtype, no_tokenizer=True)
    return _used(path)


def merged_gguf(folder: Path, adapter: Path, cache: Path, digest: str, dtype: str) -> Path:
    """Return the file of a version's merged weights, written if it is missing. Raises UnsupportedModel."""
    path = _folder(cache) / f"merged-{digest[:32]}-{dtype}.gguf"
    if not path.exists():
        write_gguf(folder, adapter, path, dtype, no_tokenizer=True)
    return _used(path)


def adapter_gguf(folder: Path, adapter: Path, cache: Path, digest: str) -> Path:
    """Return the file of a version's adapter over the model in `folder`, written if it is missing.

    Raises UnsupportedModel for an adapter that changes what llama.cpp does not adapt.
    """
    path = _folder(cache) / f"adapter-{digest[:32]}.gguf"
    if not path.exists():
        write_adapter(folder, adapter, path)
    return _used(path)


def write_adapter(base: Path, adapter: Path, out: Path) -> Path:
    """Write a LoRA adapter over the model in `base` to `out`, completely or not at all; return `out`.

    Raises UnsupportedModel for another kind of adapter, or for one that changes an output layer that is the input
    embeddings.
    """
    from gguf import GGUFWriter

    config = read_config(base)
    if reasons := reasons_against_gguf(config):
        raise UnsupportedModel(f"an adapter over the model in {base} cannot be a GGUF file: {'; '.join(reasons)}")
    changes = lora_changes(adapter)
    if HEAD in changes and config.get("tie_word_embeddings"):
        raise UnsupportedModel(f"the adapter in {adapter} changes {HEAD}, which is the input embeddings here")
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    writer = GGUFWriter(temporary, ARCHITECTURES[config["model_type"]])
    try:
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", 1.0)  # llama.cpp divides it by the rank, so the scale is in B
        for name, (down, up, scale) in changes.items():
            written = tensor_name(name, config)
            if written is None:
                raise UnsupportedModel(f"the adapter in {adapter} changes {name}, which a GGUF file has no name for")
            up = as_stored(name, up * (scale * down.shape[0]), config)
            writer.add_tensor(f"{written}.lora_a", np.ascontiguousarray(down, np.float32))
            writer.add_tensor(f"{written}.lora_b", np.ascontiguousarray(up, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        temporary.replace(out)
    finally:
        writer.close()
        temporary.unlink(missing_ok=True)
    return out


def _folder(cache: Path) -> Path:
    folder = cache / "llamacpp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def weights_key(folder: Path) -> str:
    """Return a key of a model's weights: names, sizes and times of its files, since digests of large ones take long."""
    files = [folder / "config.json", *weight_files(folder)]
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr((str(folder.resolve()), stats)).encode()).hexdigest()[:16]


def _used(path: Path) -> Path:
    """Mark a file as used now, and remove those of its kind that were used longest ago. An open file stays readable."""
    os.utime(path)
    kind = path.name.partition("-")[0]
    others = sorted(path.parent.glob(f"{kind}-*.gguf"), key=_used_at, reverse=True)[KEPT[kind] :]
    half = [one for one in path.parent.glob(".*.gguf.*") if time.time() - _used_at(one) > HALF_S]
    for old in (*others, *half):
        old.unlink(missing_ok=True)
    return path


def _used_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another worker may clean at the same time
        return 0.0
