"""Answers of a model to many chats at once, with transformers' own generation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_TOKENS = 80


def answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, chats: Sequence[Sequence[dict[str, str]]], *, sampled: bool = False, seed: int = 0,
        batch_size: int = 192
) -> list[str]:
    """One answer to each chat, greedy or sampled at temperature 1 from the whole distribution. Longer prompts go together."""
    ids = [tokenizer.apply_chat_template(list(chat), add_generation_prompt=True, tokenize=True, return_dict=False) for chat in chats]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    replies = [""] * len(ids)
    torch.manual_seed(seed)
    was_training = model.training
    model.eval()
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        for i, reply in zip(chosen, _generate(model, tokenizer, [ids[i] for i in chosen], sampled), strict=True):
            replies[i] = reply
    model.train(was_training)
    return replies


@torch.inference_mode()
def _generate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[Any], sampled: bool) -> list[str]:
    width = max(len(p) for p in prompts)
    pad = int(tokenizer.pad_token_id)  # type: ignore[arg-type]
    ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    out = model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=MAX_TOKENS, do_sample=sampled, temperature=1.0 if sampled else None,
            top_k=0 if sampled else None,
        top_p=1.0 if sampled else None, eos_token_id=tokenizer.eos_token_id, pad_token_id=pad,
    )  # fmt: skip
    return [str(tokenizer.decode(row, skip_special_tokens=True)) for row in out[:, width:]]
