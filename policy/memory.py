"""An estimate of the memory that a version takes, before it is loaded. No torch: the service imports this."""

import json
from pathlib import Path
from typing import Any

from policy.model import read_config, weight_files
from policy.openvino_ir import reasons_against_openvino
from policy.runners.base import RunnerOptions

PROCESS = 0.25 * 2**30  # bytes: the libraries of a worker process
# OpenVINO, measured with SmolLM2 and with 128 M weights in linear layers: the file is mapped, and the weights are held
# beside it in the order that its kernels read
BYTES_OF_WEIGHT = {"none": 4.0, "q8_0": 2.0, "q4_0": 1.1, "q4_k": 1.1, "file": 1.1}
# llama.cpp maps the file; weights of 4 bits are held a second time, in the order that its kernels read
MAPPED_BYTES = {"none": 2.0, "q8_0": 1.1, "q4_0": 1.2, "q4_k": 1.4, "file": 1.4}
SMALL = 64_000_000  # weights
COPIES = 2  # OpenVINO loads the weights a second time for the first request with top_logprobs


def weights_need(folder: Path, options: RunnerOptions) -> int:
    """Return the bytes of the base weights that all versions share, with the process that holds them."""
    return int(PROCESS + (4.0 if options.precision == "float32" else 2.0) * num_weights(folder))


def memory_need(folder: Path, options: RunnerOptions, *, is_shared: bool = False) -> int:
    """Return the most bytes that a runner of one version takes: process, weights, keys and values.

    Shared base weights do not count here (see `weights_need`). An adapter is small beside the process.
    """
    config = read_config(folder)
    if is_shared:
        return int(PROCESS + kv_bytes(config, options))
    kinds = options.kinds or ("openvino",)
    if options.device == "cpu" and kinds[0] == "openvino" and not reasons_against_openvino(config):
        width = COPIES * (
            6.0 if (options.quantize, options.precision) == ("none", "bfloat16") else BYTES_OF_WEIGHT[options.quantize]
        )
    elif kinds[0] == "llamacpp":
        width = 4.0 if is_small(folder, options) else MAPPED_BYTES[options.quantize]
    else:
        width = 4.0 if options.precision == "float32" else 2.0
    return int(PROCESS + width * num_weights(folder) + kv_bytes(config, options))


def is_small(folder: Path, options: RunnerOptions) -> bool:
    """Whether the llama.cpp runner keeps a model in float32: that is exact, and the model takes little memory."""
    return options.quantize == "none" and num_weights(folder) <= SMALL


def kv_bytes(config: dict[str, Any], options: RunnerOptions) -> int:
    """Return the most bytes of keys and values: `kv_gib`, or less where a full batch of whole contexts is less."""
    config = config.get("text_config") or config
    heads = config.get("num_key_value_heads") or config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    width = 4 if options.precision == "float32" else 2
    context = 2 * config["num_hidden_layers"] * heads * size * width * config["max_position_embeddings"]
    return int(max(context, min(options.kv_gib * 2**30, context * options.max_batch)))


def num_weights(folder: Path) -> int:
    """Return how many numbers a model's files hold; files other than safetensors are estimated by size."""
    total = 0
    for path in weight_files(folder):
        if path.suffix != ".safetensors":
            total += path.stat().st_size // 2
            continue
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        for name, entry in header.items():
            size = 1
            for length in entry.get("shape", ()) if name != "__metadata__" else (0,):
                size *= length
            total += size
    return total
