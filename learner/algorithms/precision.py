"""The dtype that the algorithms compute in, and how numbers leave the device."""

from collections.abc import Mapping

import torch
from torch import Tensor


def working(x: Tensor) -> Tensor:
    """Return `x` in the dtype that every loss computes in: float32, or float64 where the caller passes float64.

    Half precision loses more than one token's log-probability over a sequence. float64 is for finite differences.
    """
    return x if x.dtype == torch.float64 else x.float()


def plain_floats(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Return () tensors as Python floats in one transfer from the device instead of one each."""
    if not values:
        return {}
    return dict(zip(values, torch.stack([value.detach().double() for value in values.values()]).tolist(), strict=True))
