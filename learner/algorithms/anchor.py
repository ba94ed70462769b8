"""The anchor: a penalty that keeps the policy near the base model on prompts without feedback.

An anchor is a KL-regularization sample of the base model. For each of its tokens the base's next-token distribution is
cached once: the most likely tokens, and one bucket for all others.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from learner.algorithms.precision import plain_floats, working


class TopLogps(NamedTuple):
    """A next-token distribution per position, in nats: the k most likely tokens, and the rest as one bucket."""

    ids: Tensor  # (M, k) long
    logps: Tensor  # (M, k)
    rest: Tensor  # (M,): log-probability that the token is none of `ids`; -inf where ids hold the whole vocabulary


def _bucketed(logits: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities (M, k) of `ids` and (M,) of all other tokens.

    The rest is summed over the other logits. One minus the sum of the kept probabilities would cancel where it is
    small.
    """
    logits = working(logits)
    normalizer = logits.logsumexp(-1)
    kept = logits.gather(-1, ids) - normalizer.unsqueeze(-1)
    return kept, logits.scatter(-1, ids, -torch.inf).logsumexp(-1) - normalizer


def top_logps(logits: Tensor, k: int) -> TopLogps:
    """Return what is cached of the base's logits (M, V): the k most likely tokens per position, at most V."""
    ids = logits.topk(min(k, logits.size(-1)), dim=-1).indices
    return TopLogps(ids, *_bucketed(logits.detach(), ids))


def forward_kl_loss(logits: Tensor, base: TopLogps) -> tuple[Tensor, dict[str, float]]:
    """Return KL(base || policy) per anchor token over the cached tokens and the rest, (M,), in nats, and its mean.

    `logits` (M, V) are the policy's at the cached positions. The bucket can only lower the KL. The KL is 0 exactly
    where policy and base agree on the buckets. The forward KL covers the base's mass: the policy keeps every token of
    the base.
    """
    kept, rest = _bucketed(logits, base.ids)
    base_kept, base_rest = working(base.logps), working(base.rest)
    values = (base_kept.exp() * (base_kept - kept)).sum(-1)
    bucket = base_rest.exp() * (base_rest - rest)
    values = values + torch.where(torch.isinf(base_rest), torch.zeros_like(bucket), bucket)
    return values, plain_floats({"anchor/kl": values.mean()}) if values.numel() else {}
