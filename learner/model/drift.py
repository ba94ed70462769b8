"""How far the resident weights are from recorded distributions."""

from collections.abc import Sequence

import torch

from learner.algorithms.anchor import forward_kl_loss
from learner.model.anchors import Anchor, stacked
from learner.model.resident import Resident
from learner.model.scoring import completion_logits, length_buckets

LOGITS_BYTES = 128 * 2**20  # of one forward pass, in float32


@torch.no_grad()
def drift_per_completion(resident: Resident, recorded: Sequence[Anchor], budget: int) -> float:
    """Return KL(recorded distribution || resident policy) in nats, summed over tokens, as a mean over completions.

    It is 0 where nothing is recorded. `budget` is the most tokens of one forward pass, padding included.
    """
    total = 0.0
    budget = min(budget, max(1, LOGITS_BYTES // (4 * resident.vocab_size)))
    for group in length_buckets([anchor.num_tokens for anchor in recorded], budget):
        some = [recorded[index] for index in group]
        with resident.autocast():
            logits = completion_logits(resident.model, [(anchor.prompt_ids, anchor.completion_ids) for anchor in some])
        total += forward_kl_loss(logits, stacked(some, logits.device))[0].sum().item()
    return total / len(recorded) if recorded else 0.0
