"""The one function that turns losses into a scalar: `scale * sum_i w_i l_i / W`, W the weight of the whole update.

W spans every micro-batch and every rank of one optimizer step. It is known from the examples before any forward pass.
So the micro-batches' losses add up to the update's loss, however its examples are cut, padded, shuffled or spread.
Ranks must add their gradients; where a wrapper averages them (DDP, FSDP), divide W by the number of ranks.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from learner.algorithms.precision import plain_floats, working

Reduction = Literal["grpo", "dapo", "dr_grpo"]


class Term(NamedTuple):
    """One kind of loss within an update: unreduced values, their weights, the global weight, and a factor."""

    name: str
    values: Tensor  # any shape, usually (B,); in nats
    weights: Tensor  # as values, >= 0, no gradient
    total: float  # W > 0: the weights' sum over all micro-batches and ranks of the optimizer step
    scale: float = 1.0


def combine(terms: Iterable[Term]) -> tuple[Tensor, dict[str, float]]:
    """Return `sum_terms scale * sum_i w_i l_i / W`, shape (), and each term's share of it as `loss/NAME`.

    Values of weight 0 count as 0 but stay in the graph: a rank with only padding rows still takes part in every
    backward. Raises ValueError if there is no term, if shapes differ, or if a total is not positive while weights are.
    """
    parts: dict[str, Tensor] = {}
    for term in terms:
        shapes = tuple(term.values.shape), tuple(term.weights.shape)
        if shapes[0] != shapes[1]:
            raise ValueError(f"{term.name}: values {shapes[0]} and weights {shapes[1]} differ in shape")
        values, weights = working(term.values), working(term.weights.detach())
        if not term.total > 0 and bool((weights != 0).any()):
            raise ValueError(
                f"{term.name}: the total weight is {term.total}, but weights are not 0; pass their total sum"
            )
        part = term.scale * (weights * values).sum() / (term.total if term.total > 0 else 1.0)
        parts[f"loss/{term.name}"] = parts[f"loss/{term.name}"] + part if f"loss/{term.name}" in parts else part
    if not parts:
        raise ValueError("nothing to combine: the update has no term")
    return torch.stack([part.to(next(iter(parts.values()))) for part in parts.values()]).sum(), plain_floats(parts)


def summed_over_ranks(values: Tensor) -> Tensor:
    """Return `values` (sums and counts, never means) added over all ranks; unchanged in a single process."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    summed = values.detach().clone()
    torch.distributed.all_reduce(summed)
    return summed


def sequence_sums(token_values: Tensor, branch: Tensor, num_branches: int) -> Tensor:
    """Return (K,): the sum of the (M,) token values of each completion, in the working dtype.

    `branch` (M,) long is the index 0..K-1 of the completion that a token belongs to. A completion without tokens sums
    to 0.
    """
    values = working(token_values)
    return values.new_zeros(num_branches).index_add(0, branch, values)


def token_weights(mask: Tensor, how: Reduction) -> Tensor:
    """Return (N, T) weights that make `combine` the reduction of that name, given the matching total.

    `mask` (N, T) is 1 on the tokens that count. With N sequences and M counted tokens in the whole update the totals
    are
    grpo: N, the mean of the sequences' means (DeepSeekMath 2402.03300, eq. 3), favoring short good and long bad ones;
    dapo: M, the mean over tokens (DAPO 2503.14476, eq. 8);
    dr_grpo: N times a constant length, usually the longest allowed (Dr. GRPO 2503.20783).
    Raises ValueError for another reduction.
    """
    counted = working(mask)
    if how == "grpo":
        return counted / counted.sum(1, keepdim=True).clamp(min=1.0)
    if how in ("dapo", "dr_grpo"):
        return counted
    raise ValueError(f"unknown reduction {how!r}; use grpo, dapo or dr_grpo")
