"""Examples as labels on rows of a feature matrix: what training and calibration read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from learner.algorithms.reward import bradley_terry_loss, correction_margin, thumb_loss
from learner.algorithms.sft import change_of
from learner.data.examples import Example


class PairLabel(NamedTuple):
    """A pair or a correction: the example's index, and the rows of the better and the worse completion."""

    example: int
    good: int
    bad: int


class ThumbLabel(NamedTuple):
    """A thumb: the example's index, the completion's row, the direction, and the rater's index."""

    example: int
    completion: int
    up: bool
    rater: int


@dataclass(frozen=True)
class Labels:
    """The labels of N examples. Row order is that of `completions_of`."""

    pairs: list[PairLabel]
    thumbs: list[ThumbLabel]
    margins: Tensor
    """(P,) by pair: by how much the better completion should lead."""
    is_tie: Tensor
    """(P,) bool by pair."""
    flip_rates: Tensor
    """(N,) by example: chance that the label is wrong."""
    example_weights: Tensor
    """(N,) by example."""
    raters: list[str]

    @classmethod
    def of(cls, examples: Sequence[Example]) -> "Labels":
        """Return the labels of these examples."""
        raters = sorted({example.rater_id for example in examples})
        pairs: list[PairLabel] = []
        thumbs: list[ThumbLabel] = []
        row = 0
        for index, example in enumerate(examples):
            if example.good is not None and example.bad is not None:
                pairs.append(PairLabel(index, row, row + 1))
            else:
                thumbs.append(ThumbLabel(index, row, example.up, raters.index(example.rater_id)))
            row += len(example.completions)
        return cls(
            pairs,
            thumbs,
            margins=torch.tensor([_margin(examples[pair.example]) for pair in pairs]),
            is_tie=torch.tensor([examples[pair.example].is_tie for pair in pairs], dtype=torch.bool),
            flip_rates=torch.tensor([example.flip_rate for example in examples]),
            example_weights=torch.tensor([example.example_weight for example in examples]),
            raters=raters,
        )

    def directions(self, rows: Tensor) -> Tensor:
        """Return (N, D) by example, of (R, D) rows: the better row less the worse one of a pair, a thumb's own row.

        A linear head's lead of a pair, or its score of a thumb's completion, is its product with these.
        """
        result = rows.new_zeros(len(self.example_weights), rows.size(1))
        if self.pairs:
            which, good, bad = (torch.tensor(column) for column in zip(*self.pairs, strict=True))
            result[which] = rows[good] - rows[bad]
        if self.thumbs:
            which, row, _, _ = (torch.tensor(column) for column in zip(*self.thumbs, strict=True))
            result[which] = rows[row]
        return result

    def losses(self, leads: Tensor, biases: Tensor) -> Tensor:
        """Return (E, N) losses by head and example.

        `leads` is (E, N): a head's products with `directions`. `biases` is (E, K): each rater's threshold for a thumb
        up.
        """
        result = leads.new_zeros(leads.shape)
        if self.pairs:
            which = torch.tensor([pair.example for pair in self.pairs])
            ahead = leads[:, which]
            values, _ = bradley_terry_loss(
                ahead,
                torch.zeros_like(ahead),
                margin=self.margins.to(leads),
                flip_rate=self.flip_rates[which].to(leads),
                is_tie=self.is_tie,
            )
            result = result.index_add(1, which, values)
        if self.thumbs:
            which, _, up, rater = (torch.tensor(column) for column in zip(*self.thumbs, strict=True))
            values, _ = thumb_loss(leads[:, which], up, biases[:, rater], flip_rate=self.flip_rates[which].to(leads))
            result = result.index_add(1, which, values)
        return result


def completions_of(examples: Sequence[Example]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return (prompt_ids, completion_ids) of every completion, example by example, good before bad."""
    return [(example.prompt_ids, completion.ids) for example in examples for completion in example.completions]


def _margin(example: Example) -> float:
    """Return by how much a correction should lead its original. Chosen pairs have no margin."""
    if example.kind != "correction" or example.good is None or example.bad is None:
        return 0.0
    change = change_of(example.bad.ids, example.good.ids)
    num_changed, length = float(change.num_changed), float(len(example.good.ids))
    return float(correction_margin(torch.tensor(num_changed), torch.tensor(length)))
