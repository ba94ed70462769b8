"""Frozen features of completions: what the reward model and the trust estimate read."""

from collections.abc import Sequence

import torch
from torch import Tensor

from learner.model.resident import Resident
from learner.model.scoring import Ids, hidden_states, length_buckets


@torch.no_grad()
def completion_features(resident: Resident, completions: Sequence[tuple[Ids, Ids]], budget: int) -> Tensor:
    """Return (N, 2 d) float32 on the CPU: features of N (prompt_ids, completion_ids) under the base model.

    The first d are the last token's final hidden state, the others the mean over the completion's tokens. `budget` is
    the most tokens of one forward pass.
    """
    if not completions:
        return torch.zeros(0, 2 * resident.base.config.get_text_config().hidden_size)
    result: list[Tensor] = [torch.empty(0)] * len(completions)
    with resident.as_base() as model, resident.autocast():
        for bucket in length_buckets([len(prompt) + len(completion) for prompt, completion in completions], budget):
            chosen = [completions[index] for index in bucket]
            hidden = hidden_states(model, chosen).float()
            for row, (index, (prompt, completion)) in enumerate(zip(bucket, chosen, strict=True)):
                own = hidden[row, len(prompt) : len(prompt) + len(completion)]
                result[index] = torch.cat([own[-1], own.mean(0)]).cpu()
    return torch.stack(result)
