"""The gradients of one policy-gradient step (grpo, rloo, ppo) on a part of a round's rollouts."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learner.algorithms.grpo import grpo_loss
from learner.algorithms.kl import KlKind
from learner.algorithms.reduction import Term, combine, token_weights
from learner.algorithms.rloo import rloo_loss
from learner.algorithms.surrogate import surrogate_loss
from learner.methods.rounds import Batch
from learner.methods.step_metrics import step_summary
from learner.methods.steps import micro_batches
from learner.methods.variants import Variant
from learner.model import distributed
from learner.model.resident import Resident
from learner.model.scoring import padded, row_of, score
from learner.settings import Algorithm

# The estimate of the KL in GRPO's loss. Its gradient is that of KL(policy || live) over several steps of a round too.
KL_KIND: KlKind = "corrected_k3"
RLOO_CLIP = (0.2, 0.28)


@dataclass(frozen=True)
class Objective:
    """What a policy-gradient step descends on."""

    algorithm: Algorithm
    variant: Variant
    kl_weight: float
    """Factor of the KL to the live version in GRPO's loss, per nat and token."""
    max_tokens: int
    """Most tokens of a rollout: what dr_grpo divides by."""


def step_gradients(
    resident: Resident,
    batch: Batch,
    advantages: Tensor,
    part: Sequence[int],
    objective: Objective,
    *,
    group_size: int,
    budget: int,
) -> tuple[float, dict[str, float], int]:
    """Add the gradients of one step on the rollouts `part`; return its loss, metrics and number of tokens.

    `part` holds whole groups, whose rollouts share one row; `budget` is the most tokens of one pass.
    """
    groups = [list(part[start : start + group_size]) for start in range(0, len(part), group_size)]
    rows = [
        row_of(batch.rollouts[members[0]].prompt_ids, *(batch.rollouts[index].ids for index in members))
        for members in groups
    ]
    lengths = [row.length for row in rows]
    divisor = _divisor(batch.mask[list(part)], objective)
    loss_sum = 0.0
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    mine = distributed.share(lengths)
    for indices in micro_batches(resident, [lengths[index] for index in mine], budget):
        chosen = [mine[index] for index in indices]
        members = [member for index in chosen for member in groups[index]]
        with resident.autocast():
            scored = score(resident.model, [rows[index] for index in chosen])
        loss, seen = policy_loss(
            scored.token_logps, scored.lengths, batch, advantages[members], members, divisor, objective
        )
        loss.backward()
        loss_sum += loss.item()
        count = float(len(members)) if objective.algorithm == "rloo" else float(scored.lengths.sum())
        for name, value in seen.items():
            found[name].append((value, count))
    return sum(distributed.gathered(loss_sum)), step_summary(found), sum(lengths)


def _divisor(mask: Tensor, objective: Objective) -> float:
    """Return what a step's losses are divided by.

    That is the number of rollouts, the number of their tokens, or rollouts times the most tokens of one.
    """
    reduction = objective.variant.reduction
    if objective.algorithm == "rloo" or reduction == "grpo":
        return float(mask.size(0))
    return float(mask.sum()) if reduction == "dapo" else float(mask.size(0) * objective.max_tokens)


def policy_loss(
    token_logps: Tensor,
    lengths: Tensor,
    batch: Batch,
    advantages: Tensor,
    members: Sequence[int],
    divisor: float,
    objective: Objective,
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss, shape (), of the rollouts `members` of a round, and its metrics.

    `token_logps` (M,) are their tokens' log-probabilities in nats, one rollout after the other, `lengths` (N,) how many
    each has. `advantages` is (N,) or, for ppo, (N, T).
    """
    here = list(members)
    width = int(lengths.max())
    logps, mask = padded(list(token_logps.split(lengths.tolist()))), batch.mask[here, :width]
    old, live = batch.old[here, :width], batch.live[here, :width]
    if objective.algorithm == "rloo":
        sums, old_sums = (logps * mask).sum(1), (old * mask).sum(1)
        values, metrics = rloo_loss(sums, old_sums, advantages, eps_low=RLOO_CLIP[0], eps_high=RLOO_CLIP[1])
        weights = torch.ones_like(values)
    else:
        variant = objective.variant
        bounds: dict[str, Any] = {"eps_low": variant.clip_low, "eps_high": variant.clip_high, "kind": variant.kind}
        if objective.algorithm == "ppo":
            values, metrics = surrogate_loss(logps, old, advantages[:, :width], mask, **bounds)
        else:
            kl: dict[str, Any] = {"kl_weight": objective.kl_weight, "kl_kind": KL_KIND}
            values, metrics = grpo_loss(logps, old, live, advantages, mask, level=variant.ratio_level, **kl, **bounds)
        weights = token_weights(mask, variant.reduction)
    loss, shares = combine([Term(objective.algorithm, values, weights, divisor)])
    return loss, metrics | shares
