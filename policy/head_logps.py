"""Log-probabilities through a frozen LM head, in parts: no logits are kept, and their gradient is not computed twice.

The gradient of a token's log-probability with respect to its hidden state is W[token] - softmax(W h) W. It is computed
with the value, and the backward pass only scales it.
"""

from typing import Any

import torch
from torch import Tensor

PART_BYTES = 32 * 2**20  # of float32 logits that are computed at a time


class _HeadLogps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, target: Tensor, scale: float) -> Tensor:
        logps, slopes = _parts(hidden, weight, target, scale, with_slopes=True)
        ctx.save_for_backward(slopes)
        return logps

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return slopes * grads[0][:, None].to(slopes.dtype), None, None, None


def can_take(head: torch.nn.Module) -> bool:
    """Return whether a head is a plain matrix that is not trained."""
    return type(head) is torch.nn.Linear and head.bias is None and not head.weight.requires_grad


def head_logps(hidden: Tensor, weight: Tensor, target: Tensor, scale: float = 1.0) -> Tensor:
    """Return the log-probability (M,) in nats of each target (M,), of logits `scale * hidden (M, d) @ weight (V, d).T`.

    It has a gradient with respect to `hidden` alone. Products are in bfloat16 under autocast, all else in float32.
    """
    if torch.is_autocast_enabled(hidden.device.type):
        kind = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight = hidden.to(kind), weight.to(kind)
    with torch.autocast(hidden.device.type, enabled=False):
        if torch.is_grad_enabled() and hidden.requires_grad:
            logps: Tensor = _HeadLogps.apply(hidden, weight, target, scale)
            return logps
        return _parts(hidden, weight, target, scale, with_slopes=False)[0]


def _parts(hidden: Tensor, weight: Tensor, target: Tensor, scale: float, *, with_slopes: bool) -> tuple[Tensor, Tensor]:
    rows = max(1, PART_BYTES // (4 * weight.shape[0]))
    logps, slopes = [], []
    for some, aims in zip(hidden.split(rows), target.split(rows), strict=True):
        logits = some @ weight.T
        logits = logits if logits.dtype == torch.float64 else logits.float()
        logits = logits.mul_(scale) if scale != 1.0 else logits
        picked = logits.gather(1, aims[:, None])
        normalizer = logits.logsumexp(1, keepdim=True)
        logps.append((picked - normalizer)[:, 0])
        if with_slopes:
            probabilities = logits.sub_(normalizer).exp_().to(weight.dtype)
            slopes.append((weight[aims] - probabilities @ weight).mul_(scale))
    return torch.cat(logps), torch.cat(slopes) if slopes else hidden[:0]
