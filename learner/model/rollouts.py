"""Rollouts of the model in memory: batched sampling for the gate, for anchors and for on-policy methods."""

import logging
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learner.model.scoring import Row, row_logps, row_of

log = logging.getLogger(__name__)
BATCH = 64  # rollouts that are sampled together
AUDIT_SHARE, AUDIT_LEAST = 0.05, 4  # of the rollouts, computed again
# Nats per token. A ratio to the old policy that is off by more is a bias, though far below the clip.
SAMPLER_LIMIT = 1e-3
DROP_AT = 0.75  # share of rollouts still open at which the ended ones leave the batch; each time the cache is copied


@dataclass(frozen=True)
class Rollout:
    """One sampled completion. `logps` (nats) are the model's at temperature 1; `is_finished`: it ended its own turn."""

    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    logps: tuple[float, ...]
    is_finished: bool


@torch.no_grad()
def sample_rollouts(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    end_ids: Collection[int],
    max_tokens: int,
    seed: int,
    temperature: float = 1.0,
) -> list[Rollout]:
    """Return one rollout per prompt, in order; temperature 0 is greedy.

    On a CPU the same weights, prompts and seed give the same rollouts.
    """
    result: list[Rollout | None] = [None] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        for index, rollout in zip(
            chosen,
            _batch(model, [prompts[i] for i in chosen], end_ids, max_tokens, generator, temperature),
            strict=True,
        ):
            result[index] = rollout
    return [rollout for rollout in result if rollout is not None]


def _batch(
    model: Any,
    prompts: Sequence[Sequence[int]],
    end_ids: Collection[int],
    max_tokens: int,
    generator: torch.Generator,
    temperature: float,
) -> list[Rollout]:
    """Sample a batch of left-padded prompts with one KV cache, from which ended rollouts are dropped."""
    device, count = next(model.parameters()).device, len(prompts)
    fed, mask = (tensor.to(device) for tensor in _left_padded(prompts))
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    ends = torch.tensor(sorted(end_ids), dtype=torch.long)
    cache, rows = None, torch.arange(count)  # rows: which rollouts are still in the batch
    token_ids: list[list[int]] = [[] for _ in prompts]
    logps: list[list[float]] = [[] for _ in prompts]
    finished = [False] * count
    for _ in range(max_tokens):
        output = model(
            input_ids=fed,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.past_key_values
        table = output.logits[:, -1].float().cpu().log_softmax(-1)
        token = _drawn(table, temperature, generator)
        columns = (rows, token, table.gather(1, token.unsqueeze(1)).squeeze(1), torch.isin(token, ends))
        for row, index, logp, ended in zip(*(column.tolist() for column in columns), strict=True):
            if not finished[row]:
                token_ids[row].append(index)
                logps[row].append(logp)
                finished[row] = ended
        open_rows = torch.tensor([not finished[row] for row in rows.tolist()])
        if not open_rows.any():
            break
        fed = token.unsqueeze(1).to(device)
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], 1)
        positions = positions[:, -1:] + 1
        if hasattr(cache, "batch_select_indices") and open_rows.sum() <= DROP_AT * len(rows):
            kept = open_rows.nonzero().squeeze(1)
            rows, kept = rows[kept], kept.to(device)
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


def _drawn(logps: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Return one token (N,) per row of log-probabilities (N, V): the likeliest at temperature 0, else a sample."""
    if temperature == 0.0:
        return logps.argmax(-1)
    return torch.multinomial((logps / temperature).softmax(-1), 1, generator=generator).squeeze(1)


def sampler_logps(
    model: torch.nn.Module, rollouts: Sequence[Rollout], rows: Sequence[Row], budget: int, seed: int
) -> list[Tensor]:
    """Return each rollout's log-probabilities (T,) in nats under the model that sampled it, which `model` still is.

    `rows` hold the same rollouts in the same order, one prompt's together. A share is computed again. The recorded ones
    are returned where the two differ by rounding alone. In low precision kernels differ by more, and all are computed.
    """
    recorded = [torch.tensor(rollout.logps) for rollout in rollouts]
    count = min(len(rollouts), max(AUDIT_LEAST, round(AUDIT_SHARE * len(rollouts))))
    checked = random.Random(seed).sample(range(len(rollouts)), count)
    again = row_logps(model, [row_of(rollouts[index].prompt_ids, rollouts[index].ids) for index in checked], budget)
    difference = (torch.cat(again) - torch.cat([recorded[index] for index in checked])).abs().mean().item()
    if difference <= SAMPLER_LIMIT:
        return recorded
    log.info("log-probabilities recorded while sampling are off by %.3g nat per token; all are computed", difference)
    return row_logps(model, rows, budget)
