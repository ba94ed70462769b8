"""Answers of a model to many chats at once, in batches with a KV cache; finished answers leave the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

MAX_TOKENS = 80


def answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    chats: Sequence[Sequence[dict[str, str]]],
    *,
    tools: Sequence[Sequence[dict[str, Any]]] | None = None,
    sampled: bool = False,
    seed: int = 0,
    batch_size: int = 256,
) -> list[str]:
    """Return one answer to each chat, greedy or sampled at temperature 1 without truncation.

    `tools` has the functions on offer in each chat. A batch has prompts of similar length. Sampled answers depend on
    the seed and on their batch.
    """
    ids = [
        tokenizer.apply_chat_template(
            list(chat), tools=list(offered) or None, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        for chat, offered in zip(chats, tools or [()] * len(chats), strict=True)
    ]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    completions = [""] * len(ids)
    generator = torch.Generator(model.device).manual_seed(seed)
    was_training = model.training
    model.eval()
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        completion_ids = generate(
            model, [list(ids[i]) for i in chosen], int(tokenizer.eos_token_id), generator if sampled else None
        )
        for i, completion in zip(chosen, completion_ids, strict=True):
            completions[i] = str(tokenizer.decode(completion, skip_special_tokens=True))
    model.train(was_training)
    return completions


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    end_id: int,
    generator: torch.Generator | None,
    max_tokens: int = MAX_TOKENS,
) -> list[list[int]]:
    """Return each prompt's completion ids without the end of turn; greedy without a generator."""
    width = max(map(len, prompts))
    ids = torch.tensor(
        [[0] * (width - len(p)) + list(p) for p in prompts], device=model.device
    )  # (B, T), padded on the left
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    completions: list[list[int]] = [[] for _ in prompts]
    alive = torch.arange(len(prompts), device=model.device)
    for _ in range(max_tokens):
        out = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        chosen = _next_ids(out.logits[:, -1].float(), generator)  # (B,)
        going = chosen != end_id
        for row, token in zip(alive[going].tolist(), chosen[going].tolist(), strict=True):
            completions[row].append(token)
        if not going.any():
            break
        kept = going.nonzero().squeeze(1)
        if len(kept) < len(chosen):
            cache.batch_select_indices(kept)
        alive, ids = alive[kept], chosen[kept, None]
        mask = torch.cat([mask[kept], mask.new_ones(len(kept), 1)], dim=1)
        positions = positions[kept, -1:] + 1
    return completions


def _next_ids(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return the next id of each row, (B,), from logits (B, V)."""
    if generator is None:
        return logits.argmax(-1)
    return torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1)
