"""Losses on single completions with a thumb: KTO, APO-zero-unpaired, and KTO's KL baseline z0."""

import random
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from learner.algorithms.precision import plain_floats, working


class KlBaseline(NamedTuple):
    """KTO's z0 across micro-batches and updates: a moving average in nats.

    It starts at 0, which is exact: a policy that equals its reference has no KL to it.
    """

    value: float = 0.0

    def updated(
        self, mismatched_sum: float, mismatched_count: float, *, decay: float = 0.9, min_count: float = 8
    ) -> "KlBaseline":
        """Return the average after more mismatched log-ratios, given as sum (nats) and count over all ranks.

        Fewer than `min_count` of them are noise and change nothing.
        """
        if mismatched_count < min_count:
            return self
        return KlBaseline(decay * self.value + (1.0 - decay) * mismatched_sum / mismatched_count)

    @property
    def z0(self) -> float:
        """z0 >= 0 in nats: a KL is not negative, though its estimate may be."""
        return max(self.value, 0.0)


def mismatches(prompts: Sequence[Hashable], seed: int) -> list[tuple[int, int]]:
    """Return (i, j) pairs of examples such that completion j does not answer prompt i; each i and j at most once.

    `prompts` are keys of the examples' prompts. Within an order grouped by prompt, examples are rotated by the count of
    the most frequent prompt. So all are paired if no prompt holds more than half of them. An example is never paired
    with itself.
    """
    if not prompts:
        return []
    order = list(range(len(prompts)))
    random.Random(seed).shuffle(order)
    groups: dict[Hashable, list[int]] = {}
    for index in order:
        groups.setdefault(prompts[index], []).append(index)
    grouped = [index for group in groups.values() for index in group]
    shift = max(len(group) for group in groups.values())
    rotated = grouped[shift:] + grouped[:shift]
    return sorted((i, j) for i, j in zip(grouped, rotated, strict=True) if prompts[i] != prompts[j])


def kto_loss(
    logps: Tensor,
    reference_logps: Tensor,
    up: Tensor,
    z0: float | Tensor,
    *,
    beta: float,
    up_weight: float = 1.0,
    down_weight: float = 1.0,
) -> tuple[Tensor, dict[str, float]]:
    """KTO (Ethayarajh et al. 2402.01306, eq. 7): `w (1 - v)` per completion, (B,), and plain-float means.

    `logps` and `reference_logps` (B,) are in nats, summed over completion tokens. `up` (B,) bool is the thumb. `z0` >=
    0 in nats carries no gradient. v = sigmoid(beta (h - z0)) for thumbs up and sigmoid(beta (z0 - h)) for thumbs down.
    At h = z0 a completion gets beta/4 of gradient, half of what a pair's completion gets from DPO.
    """
    h = working(logps) - working(reference_logps.detach())
    baseline = z0.detach() if isinstance(z0, Tensor) else z0
    gain = torch.where(up, h - baseline, baseline - h)
    return _sided(up, up_weight, down_weight, h) * (1.0 - torch.sigmoid(beta * gain)), _thumb_metrics(h, up)


def apo_zero_unpaired_loss(
    logps: Tensor, reference_logps: Tensor, up: Tensor, *, beta: float, up_weight: float = 1.0, down_weight: float = 1.0
) -> tuple[Tensor, dict[str, float]]:
    """APO-zero for single completions (D'Oosterlinck et al. 2408.06266, eq. 7 by halves): KTO without z0.

    Shapes and units are those of `kto_loss`. Returns (B,) and plain-float means.
    """
    h = working(logps) - working(reference_logps.detach())
    return _sided(up, up_weight, down_weight, h) * torch.sigmoid(beta * torch.where(up, -h, h)), _thumb_metrics(h, up)


def _sided(up: Tensor, up_weight: float, down_weight: float, like: Tensor) -> Tensor:
    return torch.where(up, torch.full_like(like, up_weight), torch.full_like(like, down_weight))


def _thumb_metrics(h: Tensor, up: Tensor) -> dict[str, float]:
    """Return the mean log-ratio of each side that is present, in nats, and the share of thumbs up."""
    if h.numel() == 0:
        return {}
    values = {"thumb/up_share": up.double().mean()}
    num_up = int(up.sum())
    if num_up:
        values["thumb/up_log_ratio"] = h[up].mean()
    if num_up < h.numel():
        values["thumb/down_log_ratio"] = h[~up].mean()
    return plain_floats(values)
