"""The plain sampler: slow and simple, the reference that every runner is tested against.

The order is that of the engines: penalties, temperature, top-k, top-p, min-p. The penalties of OpenAI's API count the
completion's tokens so far. The repetition penalty, of transformers, counts the prompt's too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from policy.array_sampler import uniform_number
from policy.errors import PromptTooLong
from policy.runners.base import Finish, SamplingSettings


@torch.no_grad()
def generate(
    model: Any, prompt_ids: Sequence[int], settings: SamplingSettings
) -> tuple[list[int], list[float], Finish]:
    """Return (ids, raw log-probabilities in nats, finish) of one completion, without cache and without batch.

    Each token takes a forward pass of the whole sequence. Raises PromptTooLong when prompt and completion do not fit
    the model's context.
    """
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if context is not None and len(prompt_ids) + settings.max_tokens > context:
        asked = f"{len(prompt_ids)} tokens of prompt and {settings.max_tokens} of answer"
        raise PromptTooLong(f"{asked} do not fit the context of {context} tokens")
    device = next(model.parameters()).device
    ids: list[int] = []
    logps: list[float] = []
    for _ in range(settings.max_tokens):
        logits = model(input_ids=torch.tensor([[*prompt_ids, *ids]], device=device), use_cache=False).logits[:, -1]
        tokens, raw = sampled_tokens(logits, [settings], [ids], [prompt_ids])
        ids.append(tokens[0])
        logps.append(raw[0])
        if tokens[0] in settings.end_ids:
            return ids, logps, "stop"
    return ids, logps, "length"


def sampled_tokens(
    logits: Tensor,
    settings: Sequence[SamplingSettings],
    histories: Sequence[Sequence[int]],
    prompts: Sequence[Sequence[int]] | None = None,
) -> tuple[list[int], list[float]]:
    """Return (tokens, raw log-probabilities in nats), one for each row of `logits` (B, V).

    `histories` are the completions' tokens so far. Only a repetition penalty reads the `prompts`.

    A hash of the seed and n, a number in [0, 1), picks the n-th token by the cumulative distribution. So a completion
    depends on its seed alone, not on the batch.
    """
    wide = logits.float()
    scores = sampling_scores(wide, settings, histories, prompts)
    heaps = torch.softmax(scores.double(), -1).cumsum(-1)
    numbers = [uniform_number(setting.seed, len(history)) for setting, history in zip(settings, histories, strict=True)]
    aims = torch.tensor(numbers, dtype=torch.float64, device=logits.device)[:, None] * heaps[:, -1:]
    tokens = torch.searchsorted(heaps, aims, right=True).clamp(
        max=logits.shape[-1] - 1
    )  # right: never a token of probability 0
    raw = torch.log_softmax(wide, -1).gather(1, tokens)
    return tokens[:, 0].tolist(), raw[:, 0].tolist()


def sampling_scores(
    logits: Tensor,
    settings: Sequence[SamplingSettings],
    histories: Sequence[Sequence[int]],
    prompts: Sequence[Sequence[int]] | None = None,
) -> Tensor:
    """Return (B, V) scores; the softmax of a row is the distribution to sample from. `logits` (B, V) stay unchanged."""
    scores = logits.clone() if logits.dtype == torch.float64 else logits.float().clone()
    before = prompts if prompts is not None else [()] * len(settings)
    for row, (setting, history, prompt) in enumerate(zip(settings, histories, before, strict=True)):
        if setting.repetition_penalty != 1.0:
            scores[row] = _unrepeated(scores[row], setting.repetition_penalty, [*prompt, *history])
        if history and (setting.presence_penalty or setting.frequency_penalty):
            scores[row] = _penalized(scores[row], setting, history)
    greedy = [row for row, setting in enumerate(settings) if setting.temperature == 0]
    best = scores[greedy].argmax(-1)
    scores /= torch.tensor(
        [setting.temperature or 1.0 for setting in settings], dtype=scores.dtype, device=scores.device
    )[:, None]
    cut = [
        row
        for row, setting in enumerate(settings)
        if setting.temperature and (setting.top_k or setting.top_p < 1 or setting.min_p)
    ]
    if cut:
        scores[cut] = _truncated(scores[cut], [settings[row] for row in cut])
    scores[greedy] = -torch.inf
    scores[greedy, best] = 0.0
    return scores


def _truncated(scores: Tensor, settings: Sequence[SamplingSettings]) -> Tensor:
    """Mask all but each row's `top_k` likeliest tokens, of those all but the fewest that hold `top_p`, then `min_p`."""
    size = scores.shape[-1]
    ordered, order = scores.sort(dim=-1, descending=True, stable=True)
    counts = torch.tensor(
        [setting.top_k if 0 < setting.top_k < size else size for setting in settings], device=scores.device
    )[:, None]
    ordered = ordered.masked_fill(torch.arange(size, device=scores.device) >= counts, -torch.inf)
    chances = torch.softmax(ordered.double(), -1)
    before = chances.cumsum(-1) - chances  # probability of all likelier tokens: the likeliest is always kept
    limits = torch.tensor(
        [setting.top_p if setting.top_p < 1 else 2.0 for setting in settings], dtype=before.dtype, device=scores.device
    )[:, None]
    ordered = ordered.masked_fill((before >= limits) & (before > 0), -torch.inf)
    least = torch.tensor([setting.min_p for setting in settings], dtype=chances.dtype, device=scores.device)[:, None]
    ordered = ordered.masked_fill(chances < least * chances[:, :1], -torch.inf)
    return torch.empty_like(scores).scatter_(-1, order, ordered)


def _penalized(scores: Tensor, settings: SamplingSettings, history: Sequence[int]) -> Tensor:
    counts = torch.bincount(torch.tensor(list(history), device=scores.device), minlength=len(scores)).to(scores.dtype)
    return scores - settings.presence_penalty * counts.clamp(max=1.0) - settings.frequency_penalty * counts


def _unrepeated(scores: Tensor, penalty: float, tokens: Sequence[int]) -> Tensor:
    """Return scores (V,) with a repetition penalty on `tokens` (Keskar et al. 1909.05858, as transformers has it)."""
    ids = torch.tensor(sorted(set(tokens)), dtype=torch.long, device=scores.device)
    seen = scores[ids]
    return scores.index_put((ids,), torch.where(seen < 0, seen * penalty, seen / penalty))
