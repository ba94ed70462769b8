"""Likelihood terms: mean negative log-likelihood of a completion, also weighted by what a correction changed."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from torch import Tensor

from learner.algorithms.precision import plain_floats, working
from learner.algorithms.reduction import sequence_sums


def nll_loss(logps: Tensor, lengths: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Negative log-likelihood per token of each completion, (B,), in nats, and its batch mean.

    `logps` (B,) are summed over completion tokens, `lengths` (B,) count them. The batch mean is over sequences, so a
    long completion counts as much as a short one. An empty completion costs 0.
    """
    values = -working(logps) / working(lengths).clamp(min=1.0)
    return values, plain_floats({"nll/mean": values.mean()}) if values.numel() else {}


def weighted_nll_loss(
    token_logps: Tensor, token_weights: Tensor, branch: Tensor, num_branches: int
) -> tuple[Tensor, dict[str, float]]:
    """Weighted negative log-likelihood per token of each completion, (K,), in nats, and its mean.

    It is `-sum_t w_t logp_t / sum_t w_t`. `token_logps` and `token_weights` (>= 0) are (M,); `branch` (M,) is the index
    of the completion that a token belongs to. A completion whose weights sum to 0 costs 0.
    """
    weights = working(token_weights.detach())
    totals = sequence_sums(weights, branch, num_branches)
    sums = sequence_sums(-working(token_logps) * weights, branch, num_branches)
    values = sums / totals.masked_fill(totals == 0, 1.0)
    return values, plain_floats({"nll/changed": values.mean()}) if num_branches else {}


class Change(NamedTuple):
    """What a correction changed, by the corrected completion's tokens."""

    weights: list[float]  # one per token of the corrected completion
    num_changed: int
    last_changed: int  # index of the last changed token, -1 if nothing changed


def change_of(original_ids: Sequence[int], corrected_ids: Sequence[int], *, unchanged_weight: float = 0.1) -> Change:
    """Return the weights of a corrected completion's tokens: 1 where changed, else `unchanged_weight`.

    The difference is difflib's on token ids. Where tokens were only removed, the token that now follows is the change:
    the model has to learn to choose it.
    """
    changed = [False] * len(corrected_ids)
    for tag, _, _, start, end in SequenceMatcher(None, original_ids, corrected_ids, autojunk=False).get_opcodes():
        if tag in ("replace", "insert"):
            changed[start:end] = [True] * (end - start)
        elif tag == "delete" and start < len(corrected_ids):
            changed[start] = True
    positions = [index for index, is_changed in enumerate(changed) if is_changed]
    weights = [1.0 if is_changed else unchanged_weight for is_changed in changed]
    return Change(weights, len(positions), positions[-1] if positions else -1)
