"""Muon for the matrices and AdamW for the rest, which learn this corpus in fewer steps than AdamW alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def orthogonalized(stack: Tensor, rounds: int = 5, *, fast: bool = False) -> Tensor:
    """Return approximately the nearest semi-orthogonal matrices to a stack (N, R, C).

    By the quintic Newton-Schulz iteration of Jordan et al. 2024 (Muon). `fast` iterates in bfloat16, which is exact
    enough.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = stack / (stack.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    x = x.bfloat16() if fast else x
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(rounds):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(stack.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum with an orthogonalized update; matrices of one shape are one stack.

    The update is scaled by 0.2 sqrt(larger side), so that a learning rate is about that of Adam.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        fast: bool = False,
    ) -> None:
        self._fast = fast
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Make one update from the gradients; a matrix without a gradient stays."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[tuple(p.shape)].append(p)
            for shape, params in by_shape.items():
                updates = []
                for p in params:
                    assert p.grad is not None  # only those were collected
                    buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                    buffer.lerp_(p.grad, 1 - group["momentum"])
                    updates.append(p.grad.lerp(buffer, group["momentum"]))
                scale = group["lr"] * 0.2 * max(shape) ** 0.5
                for p, update in zip(params, orthogonalized(torch.stack(updates), fast=self._fast), strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-scale)


def optimizers_of(model: nn.Module, lr: float, *, fast: bool) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "layers" in n]
    rest = [p for n, p in model.named_parameters() if not (p.ndim == 2 and "layers" in n)]
    return [
        Muon(matrices, lr=lr, weight_decay=0.05, fast=fast),
        torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]
