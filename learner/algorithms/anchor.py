"""The anchor: keeps the policy near what the base model says on prompts that nobody complained about.

The base's next-token distribution is cached once per anchor token as its most likely tokens and one bucket for the
rest.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from learner.algorithms.precision import plain_floats, working


class TopLogps(NamedTuple):
    """A next-token distribution per position: the k most likely tokens and the rest as one bucket, in nats."""

    ids: Tensor  # (M, k) long
    logps: Tensor  # (M, k)
    rest: Tensor  # (M,): log-probability that the token is none of `ids`; -inf where ids hold the whole vocabulary


def _bucketed(logits: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities (M, k) of `ids` and (M,) of all other tokens.

    The rest is summed over the other logits; 1 minus the sum of the kept ones would cancel where the rest is small.
    """
    logits = working(logits)
    normalizer = logits.logsumexp(-1)
    kept = logits.gather(-1, ids) - normalizer.unsqueeze(-1)
    return kept, logits.scatter(-1, ids, -torch.inf).logsumexp(-1) - normalizer


def top_logps(logits: Tensor, k: int) -> TopLogps:
    """Return what to cache of the base's logits (M, V): its k most likely tokens per position (all V if there are
    fewer).
    """
    ids = logits.topk(min(k, logits.size(-1)), dim=-1).indices
    return TopLogps(ids, *_bucketed(logits.detach(), ids))


def forward_kl_loss(logits: Tensor, base: TopLogps) -> tuple[Tensor, dict[str, float]]:
    """KL(base || policy) per anchor token over the cached tokens and the rest bucket, (M,), in nats, and its mean.

    `logits` (M, V) are the policy's at the cached positions. Bucketing only lowers a KL, and it stays 0 exactly where
    the policy equals
    the base on the buckets. Forward, hence mass-covering: the policy must not lose what the base can say.
    """
    kept, rest = _bucketed(logits, base.ids)
    base_kept, base_rest = working(base.logps), working(base.rest)
    values = (base_kept.exp() * (base_kept - kept)).sum(-1)
    bucket = base_rest.exp() * (base_rest - rest)
    values = values + torch.where(torch.isinf(base_rest), torch.zeros_like(bucket), bucket)
    return values, plain_floats({"anchor/kl": values.mean()}) if values.numel() else {}
