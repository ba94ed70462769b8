"""GRPO and its variants: advantages within a group of completions of one prompt, and a KL term inside the loss.

`reduction.token_weights` reduces over tokens (grpo, dapo, dr_grpo); GSPO is `level="sequence"`.
"""

from typing import Literal

import torch
from torch import Tensor

from learner.algorithms.kl import KlKind, kl_estimate
from learner.algorithms.precision import plain_floats, working
from learner.algorithms.surrogate import RatioLevel, SurrogateKind, surrogate_loss

AdvantageScale = Literal["group", "batch", "none"]


def group_means(values: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the size of each value's group, both (N,).

    `groups` (N,) long numbers the prompts 0..K-1.
    """
    sizes = torch.bincount(groups).to(values)
    sums = torch.zeros_like(sizes).index_add(0, groups, values)
    return (sums / sizes)[groups], sizes[groups]


def group_advantages(rewards: Tensor, groups: Tensor, *, scale: AdvantageScale) -> Tensor:
    """Return `(R - group mean) / (std + 1e-4)`, (N,), no gradient (DeepSeekMath 2402.03300, section 4.1.2).

    `rewards` (N,), `groups` (N,) long, the number of the prompt. The deviation is the group's own (unbiased), the
    batch's, or none (Dr. GRPO 2503.20783), which does not favor prompts whose completions nearly agree. A completion
    alone in its group gets 0. Raises ValueError for another scale.
    """
    reward = working(rewards.detach())
    mean, size = group_means(reward, groups)
    centered = reward - mean
    if scale == "none":
        return centered
    if scale == "group":
        variance = group_means(centered**2, groups)[0] * size / (size - 1.0).clamp(min=1.0)
        return centered / (variance.sqrt() + 1e-4)
    if scale == "batch":
        return centered / (reward.std() + 1e-4) if reward.numel() > 1 else centered
    raise ValueError(f"unknown advantage scale {scale!r}; use group, batch or none")


def has_contrast(rewards: Tensor, groups: Tensor) -> Tensor:
    """Return (N,) bool: False for completions of groups that all got the same reward, which teach nothing."""
    reward = working(rewards)
    start = torch.zeros_like(torch.bincount(groups), dtype=reward.dtype)
    low = start.scatter_reduce(0, groups, reward, "amin", include_self=False)
    high = start.scatter_reduce(0, groups, reward, "amax", include_self=False)
    return (high > low)[groups]


def grpo_loss(
    logps: Tensor,
    old_logps: Tensor,
    reference_logps: Tensor | None,
    advantages: Tensor,
    mask: Tensor,
    *,
    eps_low: float = 0.2,
    eps_high: float = 0.28,
    level: RatioLevel = "token",
    kind: SurrogateKind = "clip",
    kl_weight: float = 0.04,
    kl_kind: KlKind = "corrected_k3",
) -> tuple[Tensor, dict[str, float]]:
    """GRPO per token (DeepSeekMath 2402.03300, eq. 3), (N, T), 0 outside the mask: surrogate plus weighted KL.

    Shapes and units are those of `surrogate_loss`. `reference_logps` (N, T) may be None where `kl_weight` is 0. The
    default estimate is the one whose gradient is that of KL(policy || reference). Raises ValueError for a KL without a
    reference.
    """
    values, metrics = surrogate_loss(
        logps,
        old_logps,
        advantages,
        mask,
        eps_low=eps_low,
        eps_high=eps_high,
        level=level,
        kind=kind,
    )
    if kl_weight == 0.0:
        return values, metrics
    if reference_logps is None:
        raise ValueError(
            f"kl_weight is {kl_weight}, but there are no reference log-probabilities; pass them or set it to 0"
        )
    counted = working(mask)
    kl = kl_estimate(logps, reference_logps, kl_kind, old_logps=old_logps) * counted
    report = kl_estimate(logps.detach(), reference_logps, "k3") * counted
    return values + kl_weight * kl, metrics | plain_floats({"policy/kl": report.sum() / counted.sum().clamp(min=1.0)})
