"""Features of completions under the base model: what the reward model and the trust estimate read.

They do not change with the policy: heads that were fitted to them stay valid for every later version.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from learner.model.resident import Resident
from learner.model.scoring import Ids, length_buckets, row_of
from policy.logprobs import response_logps

NUM_SCALARS = 4  # the last columns: the log-probability's mean, smallest and sum, and the length, all as logarithms


def feature_count(resident: Resident) -> int:
    """Return D, the number of features of a completion."""
    return 2 * int(resident.base.config.get_text_config().hidden_size) + NUM_SCALARS


@torch.no_grad()
def completion_features(
    resident: Resident, completions: Sequence[tuple[Ids, Ids]], budget: int, *, alone: bool = False
) -> Tensor:
    """Return (N, D) float32 on the CPU: features of N (prompt_ids, completion_ids) under the base model.

    With hidden size d: the last token's final hidden state (d), the mean over the completion's tokens (d), and
    `NUM_SCALARS` more. The mean, smallest and summed log-probability of its tokens come as -log(1 + nats), and the
    length as log(1 + tokens). Hidden states alone hardly show whether a small model's answer is right; its own
    log-probabilities do. `budget` is the most tokens of one forward pass. `alone`: one
    completion a pass, so that its features are the same to the last bit whatever is computed beside it.
    """
    if not completions:
        return torch.zeros(0, feature_count(resident))
    result: list[Tensor] = [torch.empty(0)] * len(completions)
    with resident.as_base() as model, resident.autocast(), _head_inputs(model) as seen:
        lengths = [len(prompt) + len(completion) for prompt, completion in completions]
        for bucket in [[index] for index in range(len(lengths))] if alone else length_buckets(lengths, budget):
            seen.clear()
            logps = response_logps(model, [row_of(*completions[index]) for index in bucket]).split()
            hidden = seen[0].float()
            for row, index in enumerate(bucket):
                prompt, completion = completions[index]
                own = hidden[row, len(prompt) : len(prompt) + len(completion)]
                result[index] = torch.cat([own[-1], own.mean(0), _scalars(logps[row].float())]).cpu()
    return torch.stack(result)


def _scalars(logps: Tensor) -> Tensor:
    """Return (NUM_SCALARS,) of a completion's log-probabilities (T,) in nats."""
    sizes = torch.stack([logps.mean(), logps.min(), logps.sum()])
    return torch.cat([-torch.log1p(-sizes.clamp(max=0.0)), logps.new_tensor([float(len(logps))]).log1p()])


@contextmanager
def _head_inputs(model: Any) -> Generator[list[Tensor], None, None]:
    """Collect what the output layer is given: the final hidden states (N, T, d) of each forward pass come first."""
    seen: list[Tensor] = []
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    handle = whole.get_output_embeddings().register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    try:
        yield seen
    finally:
        handle.remove()
