"""A version's merged weights as one GGUF file for OpenVINO GenAI, llama.cpp and Ollama.

policy/gguf_shapes.py has the models that it supports.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from policy.errors import UnsupportedModel
from policy.gguf_shapes import (
    ARCHITECTURES,
    as_stored,
    context_of,
    describe_more,
    head_size,
    more_tensors,
    reasons_against_gguf,
    tensor_name,
)
from policy.model import read_config
from policy.weights import Array, merged_tensors

TYPES = ("f16", "f32", "q8_0", "q4_0", "q4_k")
# Numbers in a block of llama.cpp's own quantizations, and their bytes; rows of another length get q5_0.
_Q4_K = (256, 144)


def write_gguf(
    base: Path,
    adapter: Path | None,
    out: Path,
    dtype: str = "f16",
    *,
    real_tokenizer: bool = False,
    no_tokenizer: bool = False,
    chat_template: str | None = None,
) -> Path:
    """Write base model + adapter to `out`, completely or not at all; return `out`.

    `real_tokenizer` writes the model's own vocabulary, merges and chat template, for llama.cpp and Ollama, or
    `chat_template` instead of its own. Otherwise
    the vocabulary is a placeholder: the runners exchange token ids only, and OpenVINO's reader refuses some real
    vocabularies. llama.cpp needs none (`no_tokenizer`). Raises UnsupportedModel.
    """
    from gguf import GGUFWriter

    config = read_config(base)
    reasons = reasons_against_gguf(config)
    if dtype not in TYPES:
        raise UnsupportedModel(f"unknown weight type {dtype!r}; choose from {', '.join(TYPES)}")
    if reasons:
        raise UnsupportedModel(f"the model in {base} cannot be written as GGUF: {'; '.join(reasons)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    writer = GGUFWriter(temporary, ARCHITECTURES[config["model_type"]])
    try:
        _describe(writer, config, dtype)
        if no_tokenizer:
            writer.add_tokenizer_model("none")
        elif real_tokenizer:
            _real_vocabulary(writer, base, config, chat_template)
        else:
            _placeholder_vocabulary(writer, base, config)
        for name, tensor in _named_tensors(base, adapter, config):
            _add(writer, name, tensor, dtype)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
    temporary.replace(out)
    return out


def _describe(writer: Any, config: dict[str, Any], dtype: str) -> None:
    heads = config["num_attention_heads"]
    writer.add_context_length(context_of(config))
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(head_size(config))
    writer.add_value_length(head_size(config))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    describe_more(writer, config)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type({"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 7, "q4_k": 14}[dtype])


def _named_tensors(base: Path, adapter: Path | None, config: dict[str, Any]) -> Iterator[tuple[str, Array]]:
    yield from more_tensors(config).items()
    for name, tensor in merged_tensors(base, adapter):
        written = tensor_name(name, config)
        if written is not None:
            yield written, as_stored(name, tensor, config)
        elif ".rotary_emb." not in name:  # old checkpoints store the frequencies, which follow from the configuration
            raise UnsupportedModel(f"the tensor {name} in {base} has no name in a GGUF file of this architecture")


def _add(writer: Any, name: str, tensor: Array, dtype: str) -> None:
    from gguf import GGMLQuantizationType, quants

    if tensor.ndim == 1 or dtype == "f32":
        writer.add_tensor(name, np.ascontiguousarray(tensor, dtype=np.float32))
    elif dtype in ("q8_0", "q4_0") and tensor.shape[-1] % 32 == 0:
        kind = GGMLQuantizationType[dtype.upper()]
        writer.add_tensor(name, quants.quantize(np.ascontiguousarray(tensor), kind), raw_dtype=kind)
    elif dtype == "q4_k" and tensor.shape[-1] % _Q4_K[0] == 0:
        from policy.runners.llamacpp_library import quantized

        kind = GGMLQuantizationType.Q4_K
        writer.add_tensor(name, quantized(tensor, int(kind), *_Q4_K), raw_dtype=kind)
    elif dtype == "q4_k" and tensor.shape[-1] % 32 == 0:
        kind = GGMLQuantizationType.Q5_0
        writer.add_tensor(name, quants.quantize(np.ascontiguousarray(tensor), kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, tensor.astype(np.float16))


def _placeholder_vocabulary(writer: Any, base: Path, config: dict[str, Any]) -> None:
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())  # OpenVINO's reader builds a byte-level tokenizer of it
    size = config["vocab_size"]
    if size < len(alphabet) + 3:
        raise UnsupportedModel(
            f"the model in {base} has a vocabulary of {size}; OpenVINO's reader needs {len(alphabet) + 3}"
        )
    tokens = ["<pad>", "<s>", "</s>", *alphabet, *(f"<{number}>" for number in range(size - 3 - len(alphabet)))]
    _add_vocabulary(writer, tokens, [3] * 3 + [1] * (size - 3), [f"{alphabet[0]} {alphabet[1]}"], 1, 2, 0, "default")


def _real_vocabulary(writer: Any, base: Path, config: dict[str, Any], chat_template: str | None) -> None:
    raw = json.loads((base / "tokenizer.json").read_text())
    if raw["model"].get("type") != "BPE" or "ByteLevel" not in json.dumps(raw.get("pre_tokenizer") or {}):
        raise UnsupportedModel(
            f"the tokenizer in {base} is not a byte-level BPE; export this model as hf and use llama.cpp's converter"
        )
    added = {
        entry["id"]: 3 if entry["special"] else 4 for entry in raw.get("added_tokens", [])
    }  # GGUF's control and user-defined tokens
    names = {number: text for text, number in raw["model"]["vocab"].items()}
    names |= {entry["id"]: entry["content"] for entry in raw.get("added_tokens", [])}
    tokens = [names.get(number, f"<unused{number}>") for number in range(config["vocab_size"])]
    types = [added.get(number, 1 if number in names else 5) for number in range(config["vocab_size"])]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in raw["model"]["merges"]]
    by_text = {text: number for number, text in names.items()}
    settings = (
        json.loads((base / "tokenizer_config.json").read_text()) if (base / "tokenizer_config.json").exists() else {}
    )

    def named(which: str) -> int | None:
        token = settings.get(f"{which}_token")
        return by_text.get(token["content"] if isinstance(token, dict) else token or "")

    _add_vocabulary(
        writer, tokens, types, merges, named("bos"), named("eos"), named("pad"), _splitting(base, raw["pre_tokenizer"])
    )
    template = base / "chat_template.jinja"
    writer.add_add_bos_token(False)  # the template writes it
    own = template.read_text() if template.exists() else settings.get("chat_template")
    chat = chat_template if chat_template is not None else own
    if isinstance(chat, str):
        writer.add_chat_template(chat)


def _splitting(base: Path, pre_tokenizer: dict[str, Any]) -> str:
    """Return llama.cpp's name of the rule that splits text before the merges. Raises UnsupportedModel."""
    parts = pre_tokenizer["pretokenizers"] if pre_tokenizer["type"] == "Sequence" else [pre_tokenizer]
    pattern = "".join(part["pattern"].get("Regex", "") for part in parts if part["type"] == "Split")
    kinds = [part["type"] for part in parts]
    if kinds == ["ByteLevel"] and parts[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and parts[0]["individual_digits"] and parts[1].get("use_regex", True):
        return "smollm"
    if "\\p{N}{1,3}" in pattern:
        return "llama-bpe"
    if "\\p{N}" in pattern and "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+" in pattern:
        return "qwen2"
    raise UnsupportedModel(
        f"the tokenizer in {base} splits text by a rule that llama.cpp does not know; export this model as hf"
    )


def _add_vocabulary(
    writer: Any,
    tokens: list[str],
    types: list[int],
    merges: list[str],
    begin: int | None,
    end: int | None,
    pad: int | None,
    splitting: str,
) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitting)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    for add, number in (
        (writer.add_bos_token_id, begin),
        (writer.add_eos_token_id, end),
        (writer.add_pad_token_id, pad),
    ):
        if number is not None:
            add(number)
