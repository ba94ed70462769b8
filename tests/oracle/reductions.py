"""The totals that make `combine` with `token_weights` the reductions of GRPO, DAPO and Dr. GRPO."""

from torch import Tensor

from learner.algorithms.reduction import Reduction


def total_of(mask: Tensor, how: Reduction, *, max_length: float) -> float:
    """Return the total of one update whose tokens are all in `mask` (N, T); `max_length` is Dr. GRPO's, in tokens."""
    num_sequences, num_tokens = float(mask.size(0)), float(mask.sum())
    return {"grpo": num_sequences, "dapo": num_tokens, "dr_grpo": num_sequences * max_length}[how]
