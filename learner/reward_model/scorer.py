"""The scorer of the trust estimate: a linear model of what raters prefer, on frozen features of completions."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

RIDGE = 4.0  # prior precision of the scorer's weights, against one label


@dataclass(frozen=True)
class RaterLabel:
    """One rater's label: `good` over `bad`, as rows of the features. A thumb has one of the two."""

    rater: str
    good: int | None
    bad: int | None

    @property
    def rows(self) -> frozenset[int]:
        """The one or two rows that it is about."""
        return frozenset(row for row in (self.good, self.bad) if row is not None)


def scaled_features(features: Tensor) -> Tensor:
    """Return (R, D) features in float64 with mean 0, whose rows have a norm of about 2.

    A unit weight vector then moves a score by some units.
    """
    centered = features.double() - features.double().mean(0)
    spread = centered.std(0)
    unit = torch.where(spread > 1e-9, centered / spread.clamp(min=1e-9), torch.zeros_like(centered))
    return unit * 2.0 / features.size(1) ** 0.5


def directions_of(features: Tensor, labels: Sequence[RaterLabel]) -> Tensor:
    """Return (L, D + 1): times a scorer's weights they give each label's log-odds. The last column is for thumbs."""
    return torch.stack([_direction(features, label) for label in labels])


def _direction(features: Tensor, label: RaterLabel) -> Tensor:
    good = features[label.good] if label.good is not None else None
    bad = features[label.bad] if label.bad is not None else None
    if good is not None and bad is not None:
        return torch.cat([good - bad, features.new_zeros(1)])
    if good is not None:
        return torch.cat([good, features.new_ones(1)])
    if bad is None:
        raise AssertionError("a label is of at least one completion")
    return -torch.cat([bad, features.new_ones(1)])


def fitted_scorer(directions: Tensor, weights: Tensor, flip_rates: Tensor) -> Tensor:
    """Return the scorer's weights (D + 1,): maximum a posteriori under label noise and a normal prior.

    `directions` is (L, D + 1). `weights` and `flip_rates` are (L,).
    """
    total = weights.sum().clamp(min=1e-9)
    if not len(weights) or float(weights.sum()) <= 0.0:
        return directions.new_zeros(directions.size(1))
    scorer = directions.new_zeros(directions.size(1)).requires_grad_()
    search = torch.optim.LBFGS([scorer], max_iter=25, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        search.zero_grad()
        logits = directions @ scorer
        likelihood = torch.logaddexp(
            torch.log1p(-flip_rates) + F.logsigmoid(logits), flip_rates.log() + F.logsigmoid(-logits)
        )
        loss = -(weights * likelihood).sum() / total + 0.5 * RIDGE / len(weights) * (scorer**2).sum()
        loss.backward()
        return loss

    search.step(closure)  # type: ignore[no-untyped-call]
    return scorer.detach()
