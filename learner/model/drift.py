"""How far the resident weights are from recorded distributions."""

from collections.abc import Sequence

import torch
from torch import Tensor

from learner.algorithms.anchor import TopLogps, forward_kl_loss
from learner.model.anchors import Anchor, stacked
from learner.model.resident import Resident
from learner.model.scoring import completion_values, length_buckets


def anchor_kl(resident: Resident, anchors: Sequence[Anchor]) -> Tensor:
    """Return KL(recorded distribution || resident policy) of each completion token, (M,) in nats, in one forward pass.

    It has a gradient where that is enabled.
    """
    base = stacked(anchors, resident.device)

    def kl(logits: Tensor, part: slice) -> Tensor:
        return forward_kl_loss(logits, TopLogps(*(column[part] for column in base)))[0]

    with resident.autocast():
        return completion_values(resident.model, [(anchor.prompt_ids, anchor.completion_ids) for anchor in anchors], kl)


@torch.no_grad()
def drift_per_completion(resident: Resident, recorded: Sequence[Anchor], budget: int) -> float:
    """Return KL(recorded distribution || resident policy) in nats, summed over tokens, as a mean over completions.

    It is 0 where nothing is recorded. `budget` is the most tokens of one forward pass, padding included.
    """
    total = 0.0
    for group in length_buckets([anchor.num_tokens for anchor in recorded], budget):
        some = [recorded[index] for index in group]
        total += anchor_kl(resident, some).sum().item()
    return total / len(recorded) if recorded else 0.0
