"""A trained model as a Hugging Face folder: writing it, the digest of its weights and their number."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


def save_folder(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: Path, record: dict[str, Any]) -> None:
    """Write config, float16 weights, tokenizer, generation settings and training record; then move the folder to `out`.

    float16 has a longer mantissa than bfloat16, and the weights are small, so evaluation sees no loss.
    """
    out = out.resolve()
    fresh = out.with_name(f".{out.name}.{os.getpid()}")
    half = copy.deepcopy(model).to("cpu", torch.float16)
    half.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=96,
        do_sample=True,
    )
    half.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    (fresh / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    template = fresh / "chat_template.jinja"
    if template.exists():  # older readers look only in the tokenizer's configuration
        config = json.loads((fresh / "tokenizer_config.json").read_text())
        config["chat_template"] = template.read_text()
        (fresh / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    for kept in ("README.md",):
        if (out / kept).exists():
            shutil.copy(out / kept, fresh / kept)
    old = out.with_name(f".{out.name}.old")
    if out.exists():
        os.rename(out, old)
    os.rename(fresh, out)
    shutil.rmtree(old, ignore_errors=True)


def weights_digest(folder: Path) -> str:
    """Return the sha256 of the weights file, in hexadecimal."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def num_parameters(folder: Path) -> int:
    """Return the number of weights in the folder's file; tied embeddings count once."""
    with open(folder / "model.safetensors", "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            size = 1
            for side in tensor["shape"]:
                size *= side
            total += size
    return total
