"""The distribution that a runner draws the next token from, as the plain sampler computes it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from policy.logprobs import response_logps
from policy.row_layout import Row
from policy.runners.base import SamplingSettings
from policy.sampler import sampling_scores


def sampled_logps(
    logits: Tensor, settings: SamplingSettings, history: Sequence[int] = (), prompt: Sequence[int] = ()
) -> Tensor:
    """Return (V,) log-probabilities in nats of the next token; -inf where it cannot come.

    `logits` (V,) are the model's own, `history` the completion's tokens so far, after the `prompt`. At temperature
    0 the greedy token has 0 and all others -inf.
    """
    return torch.log_softmax(sampling_scores(logits[None], [settings], [history], [prompt])[0], -1)


def sampled_completion_logps(
    model: torch.nn.Module, prompt_ids: Sequence[int], completion_ids: Sequence[int], settings: SamplingSettings
) -> Tensor:
    """Return (T,): log-probabilities (nats) of the tokens under the distributions that they were sampled from."""
    packed = response_logps(model, [Row(prompt_ids, [completion_ids])], want=("logp", "logits"))
    if packed.logits is None:  # an empty completion
        return packed.logp
    histories = [completion_ids[:index] for index in range(len(completion_ids))]
    scores = sampling_scores(packed.logits, [settings] * len(completion_ids), histories, [prompt_ids] * len(histories))
    return torch.log_softmax(scores, -1).gather(1, torch.tensor(list(completion_ids), device=scores.device)[:, None])[
        :, 0
    ]
