"""A scored micro-batch of examples, cut into the tensors that the mixed loss takes."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from learner.algorithms.dpo import PairLengths, PairLogps
from learner.algorithms.mixed import Corrections, Pairs, Thumbs
from learner.algorithms.sft import change_of, weighted_nll_loss
from learner.data.examples import Example
from learner.model.scoring import Scored

KINDS = ("pair", "correction", "thumb")


class LossInputs(NamedTuple):
    """What `mixed_loss` takes, each None where there is no example of its kind."""

    pairs: Pairs | None
    corrections: Corrections | None
    thumbs: Thumbs | None

    @torch.no_grad()
    def good_log_ratio(self) -> dict[str, float]:
        """Return by how much good completions became likelier than under the live version, in nats per completion.

        The dictionary is empty where there is no good completion.
        """
        two_sided = [kind for kind in (self.pairs, self.corrections) if kind is not None]
        sides = [kind.policy.chosen - kind.reference.chosen for kind in two_sided]
        if self.thumbs is not None:
            sides.append((self.thumbs.logps - self.thumbs.reference_logps)[self.thumbs.up])
        ratios = torch.cat(sides)
        return {"good/log_ratio": ratios.mean().item()} if ratios.numel() else {}


def inputs_of(examples: Sequence[Example], scored: Scored, reference: Tensor, unchanged_weight: float) -> LossInputs:
    """Return the loss inputs of a scored micro-batch, whose examples are in the order of `KINDS`.

    `reference` (K,) holds the completions' log-probabilities in nats under the live version, summed over tokens;
    `unchanged_weight` is that of a corrected completion's tokens that the correction left.
    """
    reference = reference.to(scored.sums.device)
    groups = [[example for example in examples if example.kind == kind] for kind in KINDS]
    starts = [0, *itertools.accumulate(sum(len(example.completions) for example in members) for members in groups)]
    pairs, corrections, thumbs = groups
    return LossInputs(
        _pairs(pairs, scored, reference, starts[0]) if pairs else None,
        _corrections(corrections, scored, reference, starts[1], unchanged_weight) if corrections else None,
        _thumbs(thumbs, scored, reference, starts[2]) if thumbs else None,
    )


def _pairs(members: Sequence[Example], scored: Scored, reference: Tensor, start: int) -> Pairs:
    policy, theirs, lengths = _sides(len(members), scored, reference, start)
    flips = scored.sums.new_tensor([example.flip_rate for example in members])
    return Pairs(policy, theirs, lengths, flips, _example_weights(members, scored))


def _corrections(
    members: Sequence[Example], scored: Scored, reference: Tensor, start: int, unchanged_weight: float
) -> Corrections:
    policy, theirs, lengths = _sides(len(members), scored, reference, start)
    changed_nll, num_changed = _changes(members, scored, start, unchanged_weight)
    return Corrections(policy, theirs, lengths, changed_nll, num_changed, _example_weights(members, scored))


def _thumbs(members: Sequence[Example], scored: Scored, reference: Tensor, start: int) -> Thumbs:
    here = slice(start, start + len(members))
    up = torch.tensor([example.up for example in members], device=scored.sums.device)
    return Thumbs(scored.sums[here], reference[here], scored.lengths[here], up, _example_weights(members, scored))


def _sides(count: int, scored: Scored, reference: Tensor, start: int) -> tuple[PairLogps, PairLogps, PairLengths]:
    good, bad = slice(start, start + 2 * count, 2), slice(start + 1, start + 2 * count, 2)
    policy, theirs = PairLogps(scored.sums[good], scored.sums[bad]), PairLogps(reference[good], reference[bad])
    return policy, theirs, PairLengths(scored.lengths[good], scored.lengths[bad])


def _example_weights(members: Sequence[Example], scored: Scored) -> Tensor:
    return scored.sums.new_tensor([example.example_weight for example in members])


def _changes(members: Sequence[Example], scored: Scored, start: int, unchanged_weight: float) -> tuple[Tensor, Tensor]:
    """Return the likelihood loss of each correction's changed tokens, and how many there are.

    The corrected completions are `start`, `start + 2`, ... of `scored`.
    """
    token_weights: list[float] = []
    numbers: list[float] = []
    where: list[int] = []
    offsets = torch.cat([scored.lengths.new_zeros(1), scored.lengths.cumsum(0)]).tolist()
    for index, example in enumerate(members):
        if example.good is None or example.bad is None:
            raise AssertionError("a correction has both sides")
        change = change_of(example.bad.ids, example.good.ids, unchanged_weight=unchanged_weight)
        token_weights += change.weights
        numbers.append(float(change.num_changed))
        where += range(offsets[start + 2 * index], offsets[start + 2 * index + 1])
    tokens = torch.tensor(where, dtype=torch.long, device=scored.sums.device)
    correction = (scored.completion[tokens] - start) // 2
    values, _ = weighted_nll_loss(
        scored.token_logps[tokens], scored.sums.new_tensor(token_weights), correction, len(members)
    )
    return values, scored.sums.new_tensor(numbers)
