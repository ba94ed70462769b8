"""The distribution that a runner draws the next token from, as the plain sampler computes it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from policy.runners.base import SamplingSettings
from policy.sampler import sampling_scores


def sampled_logps(logits: Tensor, settings: SamplingSettings, history: Sequence[int] = ()) -> Tensor:
    """Return (V,) log-probabilities in nats of the next token; -inf where it cannot come.

    `logits` (V,) are the model's own, `history` the completion's tokens so far. At temperature 0 the greedy token
    has 0 and all others -inf.
    """
    return torch.log_softmax(sampling_scores(logits[None], [settings], [history])[0], -1)
