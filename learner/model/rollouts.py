"""Rollouts, and how torch samples them from the model in memory, in batches. Who needs some asks a `Sampler`."""

import logging
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learner.model.scoring import Row, row_logps, row_of
from policy.array_sampler import uniform_number
from policy.runners.base import SamplingSettings
from policy.sampler import sampled_tokens

log = logging.getLogger(__name__)
BATCH = 64  # rollouts that are sampled together
AUDIT_SHARE, AUDIT_LEAST = 0.05, 4  # of the rollouts, computed again
# Nats per token. What a sampler records is what it drew from, so ratios to it are right. This bounds their noise at the
# first step, which is far below the clip: float16 weights make 0.0013.
SAMPLER_LIMIT = 5e-3
SEEDS = 2**31  # OpenVINO takes no larger one
DROP_AT = 0.75  # share of rollouts still open at which the ended ones leave the batch; each time the cache is copied


@dataclass(frozen=True)
class Rollout:
    """One sampled completion. `logps` (nats) are the model's at temperature 1; `is_finished`: it ended its own turn."""

    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    logps: tuple[float, ...]
    is_finished: bool


def row_settings(
    count: int,
    *,
    end_ids: Collection[int],
    max_tokens: int,
    seed: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
) -> list[SamplingSettings]:
    """Return the settings of `count` rollouts, each with a seed of its own, drawn from `seed`; temperature 0 is greedy.

    So a rollout depends on its number and not on those that are sampled beside it, up to rounding.
    """
    seeds = [int(uniform_number(seed, index) * SEEDS) for index in range(count)]
    ends = tuple(sorted(end_ids))
    return [
        SamplingSettings(temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=one, end_ids=ends)
        for one in seeds
    ]


@torch.no_grad()
def sample_rollouts(
    model: Any, prompts: Sequence[Sequence[int]], settings: Sequence[SamplingSettings]
) -> list[Rollout]:
    """Return one rollout per prompt, in order, sampled by torch from `model` as it is.

    On a CPU the same weights, prompts and settings give the same rollouts.
    """
    result: list[Rollout | None] = [None] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        sampled = _batch(model, [prompts[index] for index in chosen], [settings[index] for index in chosen])
        for index, rollout in zip(chosen, sampled, strict=True):
            result[index] = rollout
    return [rollout for rollout in result if rollout is not None]


def _batch(model: Any, prompts: Sequence[Sequence[int]], settings: Sequence[SamplingSettings]) -> list[Rollout]:
    """Sample a batch of left-padded prompts with one KV cache, from which ended rollouts are dropped."""
    device, count = next(model.parameters()).device, len(prompts)
    fed, mask = (tensor.to(device) for tensor in _left_padded(prompts))
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    cache, rows = None, list(range(count))  # rows: which rollouts are still in the batch
    token_ids: list[list[int]] = [[] for _ in prompts]
    logps: list[list[float]] = [[] for _ in prompts]
    finished, is_open = [False] * count, set(rows)
    for _ in range(max(setting.max_tokens for setting in settings)):
        output = model(
            input_ids=fed,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.past_key_values
        tokens, raw = sampled_tokens(
            output.logits[:, -1], [settings[row] for row in rows], [token_ids[row] for row in rows]
        )
        for row, token, logp in zip(rows, tokens, raw, strict=True):
            if row in is_open:
                token_ids[row].append(token)
                logps[row].append(logp)
                finished[row] = token in settings[row].end_ids
                if finished[row] or len(token_ids[row]) >= settings[row].max_tokens:
                    is_open.remove(row)
        if not is_open:
            break
        fed = torch.tensor(tokens, device=device).unsqueeze(1)
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], 1)
        positions = positions[:, -1:] + 1
        if hasattr(cache, "batch_select_indices") and len(is_open) <= DROP_AT * len(rows):
            kept = torch.tensor([at for at, row in enumerate(rows) if row in is_open], device=device)
            rows = [row for row in rows if row in is_open]
            cache.batch_select_indices(kept)
            fed, mask, positions = fed[kept], mask[kept], positions[kept]
    return [
        Rollout(tuple(prompt), tuple(completion), tuple(completion_logps), ended)
        for prompt, completion, completion_logps, ended in zip(prompts, token_ids, logps, finished, strict=True)
    ]


def _left_padded(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return prompts as ids (N, T) with zeros on the left, and their mask (N, T)."""
    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros(len(prompts), longest, dtype=torch.long)
    for number, prompt in enumerate(prompts):
        ids[number, longest - len(prompt) :] = torch.tensor(list(prompt))
        mask[number, longest - len(prompt) :] = 1
    return ids, mask


def sampler_logps(
    model: torch.nn.Module,
    rollouts: Sequence[Rollout],
    rows: Sequence[Row],
    budget: int,
    seed: int,
    limit: float = SAMPLER_LIMIT,
) -> list[Tensor]:
    """Return each rollout's log-probabilities (T,) in nats under the model that sampled it, which `model` still is.

    `rows` hold the same rollouts in the same order, one prompt's together. A share is computed again. The recorded ones
    are returned where the two differ by at most `limit` nats per token. In low precision kernels differ by more, and
    all are computed.
    """
    recorded = [torch.tensor(rollout.logps) for rollout in rollouts]
    count = min(len(rollouts), max(AUDIT_LEAST, round(AUDIT_SHARE * len(rollouts))))
    checked = random.Random(seed).sample(range(len(rollouts)), count)
    again = row_logps(model, [row_of(rollouts[index].prompt_ids, rollouts[index].ids) for index in checked], budget)
    difference = (torch.cat(again) - torch.cat([recorded[index] for index in checked])).abs().mean().item()
    if difference <= limit:
        return recorded
    log.info("log-probabilities recorded while sampling are off by %.3g nat per token; all are computed", difference)
    return row_logps(model, rows, budget)
