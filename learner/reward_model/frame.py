"""The frame of a reward model: from features of completions to the coordinates that its heads are fitted in."""

from dataclasses import dataclass

import torch
from torch import Tensor

from learner.model.features import NUM_SCALARS

HIDDEN_DEVIATION = 0.5  # prior deviation, in logits, of what all hidden states together add to a score
SCALAR_DEVIATION = 1.0  # and of what one deviation of a log-probability feature adds
LENGTH_DEVIATION = 2.0  # and one of the length, wider: length effects go to the covariate, not to hidden states
SLOPE_COUNT = 8.0  # pairs that the slope of the frame's own completions is worth against that of rated pairs


@dataclass(frozen=True)
class Frame:
    """Center and scale (D,) of features, and their slope (D - 1,) on the length; the last column is the length.

    A row of D coordinates has hidden states of a norm of about 1, and each scalar in units of its deviation. The frame
    comes from anchors, samples of the base model that nobody rated. So it is the same from the first pair on.
    """

    center: Tensor
    scale: Tensor
    slope: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Frame":
        """Return the frame of completions with these features (N, D), N >= 1."""
        values = features.double()
        spread = values.std(0, unbiased=False)
        least = torch.full_like(spread, 1e-3)
        least[-NUM_SCALARS:] = 0.1
        hidden = values.size(1) - NUM_SCALARS
        scale = spread.maximum(least)
        scale[:hidden] *= hidden**0.5
        rows = (values - values.mean(0)) / scale
        length = rows[:, -1]
        slope = (rows[:, :-1] * length[:, None]).sum(0) / (length**2).sum().clamp(min=1e-6)
        return cls(values.mean(0).float(), scale.float(), slope.float())

    def rows(self, features: Tensor) -> Tensor:
        """Return features (N, D) as coordinates (N, D)."""
        return (features.to(self.center) - self.center) / self.scale

    @property
    def deviation(self) -> Tensor:
        """Prior standard deviation (D,) of a head's weights, in logits per coordinate."""
        result = torch.full_like(self.center, HIDDEN_DEVIATION)
        result[-NUM_SCALARS:] = SCALAR_DEVIATION
        result[-1] = LENGTH_DEVIATION
        return result

    def slope_of_pairs(self, directions: Tensor) -> Tensor:
        """Return (D - 1,): how the other coordinates change with the length between answers to one prompt.

        `directions` (P, D) are differences of a pair's coordinates. Each pair is worth half a completion, as its mean
        is taken out. The frame's own slope counts as `SLOPE_COUNT` such pairs.
        """
        length = directions[:, -1:]
        moved = (directions[:, :-1] * length).sum(0) / 2 + SLOPE_COUNT * self.slope.to(directions)
        return moved / ((length**2).sum() / 2 + SLOPE_COUNT)
