"""Masked means and deviations over a whole update, and moving ones for updates that are too small."""

from typing import NamedTuple

import torch
from torch import Tensor

from learner.algorithms.precision import working
from learner.algorithms.reduction import summed_over_ranks


def masked_statistics(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the unbiased variance, both (), of the entries where `mask` is 1, over all ranks.

    Fewer than two entries have variance 0.
    """
    values, counted = working(x.detach()), working(mask)
    total, count = summed_over_ranks(torch.stack([(values * counted).sum(), counted.sum().to(values)])).unbind()
    mean = total / count.clamp(min=1.0)
    squares = summed_over_ranks(((values - mean) ** 2 * counted).sum())
    return mean, squares / (count - 1.0).clamp(min=1.0)


def masked_whiten(x: Tensor, mask: Tensor) -> Tensor:
    """Return `(x - mean) / std` where `mask` is 1, else 0; padding has no part in mean and deviation."""
    mean, variance = masked_statistics(x, mask)
    return (working(x) - mean) * torch.rsqrt(variance + 1e-8) * working(mask)


class MovingStatistics(NamedTuple):
    """A moving average of a mean and a variance, corrected for its start (Kingma & Ba 1412.6980, section 3)."""

    mean_sum: float = 0.0
    variance_sum: float = 0.0
    weight: float = 0.0

    def updated(self, mean: float, variance: float, *, decay: float = 0.9) -> "MovingStatistics":
        """Return the average after the mean and the variance of one more update."""
        keep, take = decay, 1.0 - decay
        return MovingStatistics(
            keep * self.mean_sum + take * mean, keep * self.variance_sum + take * variance, keep * self.weight + take
        )

    @property
    def mean(self) -> float:
        """The average mean, 0 before any update."""
        return self.mean_sum / self.weight if self.weight > 0 else 0.0

    def std(self, *, floor: float = 0.1) -> float:
        """Return the average deviation, at least `floor`, and 1 before any update."""
        return max((self.variance_sum / self.weight) ** 0.5, floor) if self.weight > 0 else 1.0
