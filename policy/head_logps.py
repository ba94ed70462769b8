"""What a frozen LM head gives, in parts: no logits are kept, and their gradient is not computed twice.

A token's value depends on its own hidden state alone. So the value's gradient is computed with it, and the backward
pass only scales that. For a log-probability it is W[token] - softmax(W h) W.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

PART_BYTES = 32 * 2**20  # of float32 logits that are computed at a time
Value = Callable[[Tensor, slice], Tensor]
"""Returns a value (m,) for each of some tokens' logits (m, V); the slice says which tokens they are."""
_Sloped = Callable[[Tensor, slice, bool], tuple[Tensor, Tensor | None]]


class _InParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, scale: float, sloped: _Sloped) -> Tensor:
        values, slopes = _parts(hidden, weight, scale, sloped, with_slopes=True)
        ctx.save_for_backward(slopes)
        return values

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

    def sloped(logits: Tensor, part: slice, with_slopes: bool) -> tuple[Tensor, Tensor | None]:
        aims = target[part, None]
        normalizer = logits.logsumexp(1, keepdim=True)
        values = (logits.gather(1, aims) - normalizer)[:, 0]
        if not with_slopes:
            return values, None
        slopes = logits.sub_(normalizer).exp_().neg_()
        return values, slopes.scatter_add_(1, aims, torch.ones_like(aims, dtype=slopes.dtype))

    return _in_parts(hidden, weight, scale, sloped)


def head_values(hidden: Tensor, weight: Tensor, value: Value, scale: float = 1.0) -> Tensor:
    """Return a value (M,) of each token's logits, as `head_logps` does for its log-probability."""

    def sloped(logits: Tensor, part: slice, with_slopes: bool) -> tuple[Tensor, Tensor | None]:
        if not with_slopes:
            return value(logits, part), None
        with torch.enable_grad():
            leaf = logits.requires_grad_()
            values = value(leaf, part)
            return values.detach(), torch.autograd.grad(values.sum(), leaf)[0]

    return _in_parts(hidden, weight, scale, sloped)


def _in_parts(hidden: Tensor, weight: Tensor, scale: float, sloped: _Sloped) -> Tensor:
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        kind = torch.get_autocast_dtype(device)
        hidden, weight = hidden.to(kind), weight.to(kind)
    with torch.autocast(device, enabled=False):
        if torch.is_grad_enabled() and hidden.requires_grad:
            values: Tensor = _InParts.apply(hidden, weight, scale, sloped)
            return values
        return _parts(hidden, weight, scale, sloped, with_slopes=False)[0]


def _parts(
    hidden: Tensor, weight: Tensor, scale: float, sloped: _Sloped, *, with_slopes: bool
) -> tuple[Tensor, Tensor]:
    """Return the values (M,), and their gradients (M, d) with respect to the hidden states or nothing."""
    rows = max(1, PART_BYTES // (4 * weight.shape[0]))
    values, slopes = [], []
    for start in range(0, len(hidden), rows):
        part = slice(start, start + rows)
        logits = hidden[part] @ weight.T
        logits = logits if logits.dtype == torch.float64 else logits.float()
        logits = logits.mul_(scale) if scale != 1.0 else logits
        some, slope = sloped(logits, part, with_slopes)
        values.append(some)
        if slope is not None:
            slopes.append((slope.to(weight.dtype) @ weight).mul_(scale))
    return torch.cat(values), torch.cat(slopes) if slopes else hidden[:0]
