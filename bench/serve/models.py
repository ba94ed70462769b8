"""The weights that all servers get: copies of models that never end an answer by themselves.

Then every answer has as many tokens as it may, on every server, whether or not that can ignore an end. In a copy the
tokens that end a turn have the row of the output layer that the model finds least likely. No sampling takes them then.
The time that a token takes does not depend on the values of weights.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from policy.chat import load_tokenizer, render_prompt
from policy.control_tokens import control_tokens
from policy.gguf import write_gguf
from policy.model import load_model, model_digest, resolve_model
from policy.openvino_ir import write_ir

RANDOM = "random-0.5b"
SAMPLING = {"temperature": 0.8, "top_p": 0.95, "top_k": 40}
LAYOUT = 3  # raise it when the copies are made in another way
KEPT = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")
PROBES = ("Tell me a long story about the sea.", "What is the capital of France?", "Hello!", "Hello, harbor!")
PROBE_TOKENS = 64
TRIES = 5
UNLIKELY = -9.0  # nats; top_p leaves such a token out


def endless(name: str, work: Path) -> Path:
    """Return the folder of a model's copy that ends no answer, made if it is missing; `random-0.5b` is random."""
    source = resolve_model("smollm2" if name == RANDOM else name)
    out = work / f"{Path(name).name}-{model_digest(str(source))[:12]}-{LAYOUT}"
    if not out.exists():
        temporary = out.with_name(f".{out.name}")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for file in KEPT:
            if (source / file).exists():
                shutil.copy(source / file, temporary)
        model = _random_model(source) if name == RANDOM else load_model(str(source), "cpu", "float32")
        _never_end(model, load_tokenizer(str(source)))
        model.half().save_pretrained(temporary)
        _describe_sampling(temporary)
        temporary.rename(out)
    return out


def gguf_of(folder: Path, weights: str) -> Path:
    """Return the model as a GGUF file with its tokenizer, for llama.cpp's server."""
    out = folder.with_name(f"{folder.name}-{weights}.gguf")
    return out if out.exists() else write_gguf(folder, None, out, weights, real_tokenizer=True)


def ir_of(folder: Path, weights: str) -> Path:
    """Return the model as a folder for OpenVINO GenAI."""
    out = folder.with_name(f"{folder.name}-{weights}-openvino")
    return out if out.exists() else write_ir(folder, None, out, weights)


def context_length(folder: Path) -> int:
    """Return how many tokens a conversation may have."""
    return int(json.loads((folder / "config.json").read_text())["max_position_embeddings"])


def _random_model(source: Path) -> Any:
    """Return a Llama of 0.49 billion random weights with the tokenizer of `source`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(source)
    shape = {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 30}
    config.update({**shape, "num_attention_heads": 14, "num_key_value_heads": 2, "head_dim": 64})
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def _never_end(model: Any, tokenizer: Any) -> None:
    """Give the control tokens that may end an answer a row of the output layer that is unlikely wherever the model is.

    That changes the model a little, so it is looked at again. Raises RuntimeError where no row is unlikely enough.
    """
    import torch

    prompts = [render_prompt(tokenizer, [{"role": "user", "content": probe}]) for probe in PROBES]
    ends = sorted(_may_end(tokenizer, prompts))
    rows = model.get_output_embeddings().weight
    most = torch.full((rows.shape[0],), -torch.inf)
    for _ in range(TRIES):
        most = torch.maximum(most, _likeliest(model, prompts, ends))
        others = most.clone()
        others[ends] = torch.inf  # their rows change
        with torch.no_grad():
            rows[ends] = rows[others.argmin()].clone()
        if _likeliest(model, prompts, ends)[ends].max() < UNLIKELY:
            return
    raise RuntimeError(f"after {TRIES} tries the model still ends answers; add to PROBES")


def _may_end(tokenizer: Any, prompts: list[list[int]]) -> set[int]:
    """Return the control tokens but those that open a turn: without these the model would be another one."""
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    ends = set(control_tokens(tokenizer).end_ids)
    return ends | ({*special, *tokenizer.all_special_ids} - {token for prompt in prompts for token in prompt})


def _likeliest(model: Any, prompts: list[list[int]], ends: list[int]) -> Any:
    """Return the largest log-probability (V,) of each token, over answers in which none of `ends` comes."""
    import torch

    found = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        torch.manual_seed(0)
        answer = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=PROBE_TOKENS,
            do_sample=True,
            suppress_tokens=ends,
            pad_token_id=ends[0],
        )
        with torch.no_grad():
            found.append(model(input_ids=answer).logits[0, len(prompt) - 1 :].log_softmax(-1).max(0).values)
    return torch.stack(found).max(0).values


def _describe_sampling(folder: Path) -> None:
    """Let the copy's generation settings be those of the requests: some servers take them from there alone."""
    config = json.loads((folder / "config.json").read_text())
    ends = {name: config.get(name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    settings = {"do_sample": True, **SAMPLING, **{name: value for name, value in ends.items() if value is not None}}
    (folder / "generation_config.json").write_text(json.dumps(settings, indent=2))
