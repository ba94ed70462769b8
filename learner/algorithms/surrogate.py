"""The policy-gradient loss on rollouts that PPO, GRPO and RLOO share.

The old policy is the one that sampled, at the start of a round; the policy is the one being trained.
"""

from typing import Literal

import torch
from torch import Tensor

from learner.algorithms.kl import bounded_exp
from learner.algorithms.precision import plain_floats, working

RatioLevel = Literal["token", "sequence"]
SurrogateKind = Literal["clip", "cispo"]


def probability_ratio(logps: Tensor, old_logps: Tensor, mask: Tensor, level: RatioLevel = "token") -> Tensor:
    """Return policy/old per token, (N, T); for `sequence` its geometric mean over a completion, on each token.

    The latter is GSPO's (Zheng et al. 2507.18071, eq. 7). `mask` (N, T) is 1 on completion tokens. Raises ValueError
    for another level.
    """
    log_ratio = working(logps) - working(old_logps.detach())
    if level == "sequence":
        counted = working(mask)
        log_ratio = (
            (log_ratio * counted).sum(1, keepdim=True) / counted.sum(1, keepdim=True).clamp(min=1.0)
        ).expand_as(log_ratio)
    elif level != "token":
        raise ValueError(f"unknown ratio level {level!r}; use token or sequence")
    return bounded_exp(log_ratio)


def clipped_objective(ratio: Tensor, advantages: Tensor, *, eps_low: float, eps_high: float) -> Tensor:
    """PPO's clipped surrogate as a loss (Schulman et al. 1707.06347, eq. 7), any shape.

    It is `-min(r A, clip(r, 1 - low, 1 + high) A)`.
    """
    return -torch.minimum(ratio * advantages, ratio.clamp(1.0 - eps_low, 1.0 + eps_high) * advantages)


def is_clipped(ratio: Tensor, advantages: Tensor, *, eps_low: float, eps_high: float) -> Tensor:
    """Return a bool for each ratio: beyond the bound that its advantage pushes it to.

    There `clipped_objective` has no gradient.
    """
    return ((ratio < 1.0 - eps_low) & (advantages < 0)) | ((ratio > 1.0 + eps_high) & (advantages > 0))


def surrogate_loss(
    logps: Tensor,
    old_logps: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    eps_low: float = 0.2,
    eps_high: float = 0.28,
    level: RatioLevel = "token",
    kind: SurrogateKind = "clip",
) -> tuple[Tensor, dict[str, float]]:
    """Return the policy-gradient loss per token, (N, T), 0 outside the mask, and plain-float metrics.

    `logps` and `old_logps` (N, T) are token log-probabilities in nats, `advantages` (N,) or (N, T). `mask` (N, T) is 1
    on completion tokens. `clip` is `clipped_objective`. `cispo` (MiniMax-M1 2506.13585) weighs `-A logp` with the
    detached ratio, bounded by `eps_high` alone (5 is usual), so clipped tokens keep their gradient. Raises ValueError
    for another kind or level.
    """
    counted = working(mask)
    advantage = working(advantages.detach())
    advantage = advantage.unsqueeze(1) if advantage.dim() == 1 else advantage
    ratio = probability_ratio(logps, old_logps, mask, level)
    if kind == "clip":
        values = clipped_objective(ratio, advantage, eps_low=eps_low, eps_high=eps_high)
        clipped = is_clipped(ratio, advantage, eps_low=eps_low, eps_high=eps_high)
    elif kind == "cispo":
        values = -ratio.detach().clamp(max=eps_high) * advantage * working(logps)
        clipped = ratio > eps_high
    else:
        raise ValueError(f"unknown surrogate {kind!r}; use clip or cispo")
    return values * counted, surrogate_metrics(logps, old_logps, ratio, clipped, counted)


def surrogate_metrics(
    logps: Tensor, old_logps: Tensor, ratio: Tensor, clipped: Tensor, mask: Tensor
) -> dict[str, float]:
    """Return means over completion tokens: the ratio, the share clipped, and the KL from the old policy.

    The KL is estimated by k3, in nats.
    """
    total = mask.sum().clamp(min=1.0)
    moved = working(logps.detach()) - working(old_logps)
    k3 = bounded_exp(moved) - moved - 1.0  # samples come from the old policy, so this is KL(old || policy)
    means = {"ratio": ratio.detach(), "clip_share": clipped.to(mask.dtype), "moved_kl": k3}
    return plain_floats({f"policy/{name}": (value * mask).sum() / total for name, value in means.items()})
