"""A version's weights as arrays, with its adapter merged; numpy alone, since the service imports no torch."""

import json
import math
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from policy.errors import UnsupportedModel
from policy.model import read_config, weight_files

Array = np.ndarray[Any, np.dtype[Any]]
Change = tuple[Array, Array, float]  # A, B and their scale
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
_DTYPES = {"F32": np.float32, "F16": np.float16, "F64": np.float64}


def read_tensors(path: Path, wanted: Container[str] | None = None) -> Iterator[tuple[str, Array]]:
    """Yield (name, float32 array) of a safetensors file, of all tensors or of those `wanted`.

    numpy has no bfloat16, so its bits are shifted to float32.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    data = np.memmap(path, mode="r", offset=8 + size)
    for name, entry in header.items():
        if name == "__metadata__" or (wanted is not None and name not in wanted):
            continue
        begin, end = entry["data_offsets"]
        raw = data[begin:end]
        if entry["dtype"] == "BF16":
            values = (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        elif entry["dtype"] in _DTYPES:
            values = raw.view(_DTYPES[entry["dtype"]]).astype(np.float32)
        else:
            what = f"{path.name} holds {name} as {entry['dtype']}"
            raise UnsupportedModel(f"{what}; only float32, float16 and bfloat16 weights can be served here")
        yield name, values.reshape(entry["shape"])


def model_tensors(folder: Path) -> Iterator[tuple[str, Array]]:
    """Yield all tensors of a model folder, shard by shard.

    Raises ModelCorrupt, or UnsupportedModel for weights in another format than safetensors.
    """
    for shard in weight_files(folder):
        yield from read_tensors(shard)


def merged_tensors(base: Path, adapter: Path | None) -> Iterator[tuple[str, Array]]:
    """Yield the base model's tensors with the LoRA adapter added: W + scale * B A (Hu et al. 2021, eq. 3).

    An output layer tied to the input embeddings gets weights of its own if the adapter changes it, and is left out
    otherwise. Raises UnsupportedModel for other adapters, or for a module that the base model lacks.
    """
    changes = lora_changes(adapter) if adapter is not None else {}
    is_tied = bool(read_config(base).get("tie_word_embeddings"))
    shared: Array | None = None
    for name, weight in model_tensors(base):
        if name == EMBEDDINGS and HEAD in changes:
            shared = weight
        if name == HEAD and is_tied:
            continue  # a copy of the embeddings
        yield name, _changed(weight, changes.pop(name, None))
    if shared is not None and HEAD in changes:
        yield HEAD, _changed(shared, changes.pop(HEAD))
    if changes:
        raise UnsupportedModel(f"the adapter in {adapter} changes {min(changes)}, which the base model does not have")


def changed_tensors(base: Path, adapter: Path) -> Iterator[tuple[str, Array]]:
    """Yield those of `merged_tensors` that the adapter changes; no others are read."""
    changes = lora_changes(adapter)
    wanted = {EMBEDDINGS if name == HEAD and read_config(base).get("tie_word_embeddings") else name for name in changes}
    for shard in weight_files(base):
        for name, weight in read_tensors(shard, wanted):
            written = name if name in changes else HEAD
            yield written, _changed(weight, changes.pop(written, None))
    if changes:
        raise UnsupportedModel(f"the adapter in {adapter} changes {min(changes)}, which the base model does not have")


def _changed(weight: Array, change: Change | None) -> Array:
    return weight if change is None else weight + change[2] * (change[1] @ change[0])


def lora_changes(adapter: Path) -> dict[str, Change]:
    """Return what a LoRA adapter adds, by weight. Raises UnsupportedModel for another kind of adapter."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    odd = [
        key for key in ("rank_pattern", "alpha_pattern", "modules_to_save", "use_dora", "lora_bias") if config.get(key)
    ]
    if config.get("peft_type") != "LORA" or odd:
        raise UnsupportedModel(
            f"the adapter in {adapter} is {config.get('peft_type')} {odd}; only plain LoRA can be merged here"
        )
    scale = config["lora_alpha"] / (math.sqrt(config["r"]) if config.get("use_rslora") else config["r"])
    halves: dict[str, dict[str, Array]] = {}
    for name, values in read_tensors(adapter / "adapter_model.safetensors"):
        module, _, half = name.removeprefix("base_model.model.").rpartition(".lora_")
        if half not in ("A.weight", "B.weight"):
            raise UnsupportedModel(
                f"the adapter in {adapter} holds {name}; only plain LoRA on linear layers can be merged here"
            )
        halves.setdefault(f"{module}.weight", {})[half.removesuffix(".weight")] = values
    return {name: (both["A"], both["B"], scale) for name, both in halves.items()}
