"""One optimizer step of the mixed update: a batch of examples and some anchors, in passes that fit the token budget,
spread over all ranks.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from learner.algorithms.anchor import forward_kl_loss
from learner.algorithms.dpo import PairLengths, PairLogps
from learner.algorithms.kto import KlBaseline, mismatches
from learner.algorithms.mixed import Corrections, MixedSettings, Pairs, Thumbs, Totals, mixed_loss, totals_of
from learner.algorithms.reduction import Term, combine
from learner.algorithms.sft import change_of, weighted_nll_loss
from learner.data.examples import Example
from learner.model import distributed
from learner.model.anchors import Anchor, stacked
from learner.model.reference import Reference
from learner.model.resident import Resident
from learner.model.scoring import (
    Row,
    Scored,
    completion_logits,
    completion_sums,
    least_fill_for,
    length_buckets,
    row_of,
    score,
)
from learner.settings import LearnerSettings

KINDS = ("pair", "correction", "thumb")


def mixed_settings(settings: LearnerSettings) -> MixedSettings:
    """Return the factors of the mixed update for the algorithm in force; sft is the mixed update without its preference
    terms.
    """
    sft = settings.algorithm == "sft"
    return MixedSettings(
        pair_kind=settings.pairs.loss,
        thumb_kind=settings.thumbs.loss,
        beta=settings.beta,
        nll=settings.nll_weight if not sft else max(settings.nll_weight, 1.0),
        anchor=settings.anchors.weight,
        **({"thumb_scale": 0.0, "correction_full_tokens": float("inf")} if sft else {}),
    )


def step_totals(trained: Sequence[Example], batch_size: int, num_anchor_tokens: int) -> Totals:
    """Return the weights that a step divides by: those of the whole update, scaled to one batch.

    Dividing by a batch's own weight would give a lightly weighted item that happens to be alone the force of a full
    one.
    """
    pairs = [example.weight for example in trained if example.kind == "pair"]
    thumbs = [(example.weight, example.up) for example in trained if example.kind == "thumb"]
    corrections = [example.weight for example in trained if example.kind == "correction"]
    whole = totals_of(pairs, thumbs, corrections, num_anchor_tokens)
    share = batch_size / len(trained)
    return Totals(whole.feedback * share, whole.nll * share, whole.anchor_tokens)


@dataclass
class MismatchedCompletions:
    """KTO's baseline z0: how likely the policy finds replies to other prompts, against the live version. Looked at
    every few steps.
    """

    rows: list[tuple[tuple[int, ...], tuple[int, ...]]]
    reference: Tensor  # (N,), nats
    baseline: KlBaseline

    @classmethod
    def of(
        cls,
        resident: Resident,
        trained: Sequence[Example],
        mixed: MixedSettings,
        seed: int,
        budget: int,
        most: int = 16,
    ) -> "MismatchedCompletions":
        """Choose rows among the thumbs and score them with the live version, which the resident weights must be; none
        where no loss reads z0.

        Two rows that fit the model's context need not do so with their replies exchanged.
        """
        if mixed.thumb_kind != "kto" or mixed.thumb_scale == 0.0:
            return cls([], torch.zeros(0), KlBaseline())
        thumbs = [example for example in trained if example.kind == "thumb"]
        pairs = mismatches([example.prompt_ids for example in thumbs], seed)
        rows = [(thumbs[i].prompt_ids, thumbs[j].replies[0].ids) for i, j in pairs]
        rows = [row for row in rows if len(row[0]) + len(row[1]) <= resident.context_length][:most]
        with resident.autocast():
            return cls(rows, completion_sums(resident.model, rows, budget), KlBaseline())

    def look(self, resident: Resident, budget: int, decay: float) -> None:
        """Bring the baseline up to date with the resident weights."""
        if self.rows:
            with resident.autocast():
                now = completion_sums(resident.model, self.rows, budget)
            self.baseline = self.baseline.updated((now - self.reference).sum().item(), len(self.rows), decay=decay)


def _by_prompt(batch: Sequence[Example], budget: int) -> list[list[Example]]:
    """Return the examples in units: those of a kind on one prompt share its row, as many as the budget holds (or one
    that alone is more).
    """
    units: list[list[Example]] = []
    for example in sorted(batch, key=lambda example: _place([example])):
        if units and _place(units[-1]) == _place([example]) and _row_tokens([*units[-1], example]) <= budget:
            units[-1].append(example)
        else:
            units.append([example])
    return units


def _place(unit: Sequence[Example]) -> tuple[int, tuple[int, ...]]:
    return KINDS.index(unit[0].kind), unit[0].prompt_ids


def _row(unit: Sequence[Example]) -> Row:
    return row_of(unit[0].prompt_ids, *(reply.ids for example in unit for reply in example.replies))


def _row_tokens(unit: Sequence[Example]) -> int:
    return _row(unit).length


def backward(
    resident: Resident,
    batch: Sequence[Example],
    anchors: Sequence[Anchor],
    reference: Reference,
    totals: Totals,
    mixed: MixedSettings,
    budget: int,
    z0: float,
) -> tuple[float, dict[str, float]]:
    """Add the gradients of one step's loss to the resident weights; return the loss and its metrics."""
    loss_sum = 0.0
    seen: dict[str, list[tuple[float, int]]] = defaultdict(list)
    units = _by_prompt(batch, budget)
    mine = [units[index] for index in distributed.share([_row_tokens(unit) for unit in units])]
    for group in micro_batches(resident, [_row_tokens(unit) for unit in mine], budget):
        chosen = sorted((mine[index] for index in group), key=_place)
        examples = [example for unit in chosen for example in unit]
        with resident.autocast():
            scored = score(resident.model, [_row(unit) for unit in chosen])
        inputs = _inputs(examples, scored, reference.sums(examples), mixed.correction_unchanged_weight)
        loss, metrics = mixed_loss(
            totals, mixed, pairs=inputs.pairs, thumbs=inputs.thumbs, corrections=inputs.corrections, z0=z0
        )
        loss.backward()
        loss_sum += loss.item()
        for name, value in (metrics | inputs.good_log_ratio()).items():
            seen[name].append((value, _count_of(name, examples)))
    anchor_loss, metrics = anchor_backward(resident, anchors, mixed.anchor, budget)
    return sum(distributed.gathered(loss_sum)) + anchor_loss, summary_of(seen) | metrics


def anchor_backward(
    resident: Resident, anchors: Sequence[Anchor], scale: float, budget: int
) -> tuple[float, dict[str, float]]:
    """Add the gradients of `scale` times the mean KL to the base per token of these anchors; return that loss, and the
    KL.
    """
    if not anchors:
        return 0.0, {}
    num_tokens, kl_sum = sum(len(anchor.completion_ids) for anchor in anchors), 0.0
    lengths = [len(anchor.prompt_ids) + len(anchor.completion_ids) for anchor in anchors]
    mine = distributed.share(lengths)
    for group in micro_batches(resident, [lengths[index] for index in mine], budget):
        some = [anchors[mine[index]] for index in group]
        with resident.autocast():
            logits = completion_logits(resident.model, [(anchor.prompt_ids, anchor.completion_ids) for anchor in some])
        kl, _ = forward_kl_loss(logits, stacked(some, logits.device))
        loss, _ = combine([Term("anchor", kl, torch.ones_like(kl), num_tokens, scale)])
        loss.backward()
        kl_sum += kl.sum().item()
    kl_sum = sum(distributed.gathered(kl_sum))
    return scale * kl_sum / num_tokens, {"anchor/kl": kl_sum / num_tokens, "loss/anchor": scale * kl_sum / num_tokens}


def micro_batches(resident: Resident, lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Return a step's rows as indices in passes of like length."""
    return length_buckets(lengths, budget, least_fill=least_fill_for(resident.model))


def summary_of(seen: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, float]:
    """Return a step's metrics from those of its passes on all ranks, each a (value, of how many): losses are shares and
    add up, others are means.
    """
    everywhere: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for theirs in distributed.gathered(dict(seen)):
        for name, values in theirs.items():
            everywhere[name] += values
    return {
        name: sum(value for value, _ in values)
        if name.startswith("loss/")
        else sum(value * count for value, count in values) / sum(count for _, count in values)
        for name, values in everywhere.items()
    }


def _count_of(name: str, examples: Sequence[Example]) -> int:
    """Return of how many of a pass's examples a metric is the mean."""
    kind, _, what = name.partition("/")
    if kind == "good":
        return num_good(examples)
    side = {"up_log_ratio": True, "down_log_ratio": False}.get(what)
    return sum(example.kind == kind and side in (None, example.up) for example in examples)


def num_good(examples: Sequence[Example]) -> int:
    """Return how many replies are there that should become likelier: chosen, corrected, or with a thumb up."""
    return sum(example.good is not None for example in examples)


class _Inputs(NamedTuple):
    pairs: Pairs | None
    corrections: Corrections | None
    thumbs: Thumbs | None

    @torch.no_grad()
    def good_log_ratio(self) -> dict[str, float]:
        """Return by how much good replies have become likelier than under the live version, in nats per reply; nothing
        where there are none.
        """
        found = [
            some.policy.chosen - some.reference.chosen for some in (self.pairs, self.corrections) if some is not None
        ]
        if self.thumbs is not None:
            found.append((self.thumbs.logps - self.thumbs.reference_logps)[self.thumbs.up])
        ratios = torch.cat(found)
        return {"good/log_ratio": ratios.mean().item()} if ratios.numel() else {}


def _inputs(examples: Sequence[Example], scored: Scored, reference: Tensor, unchanged_weight: float) -> _Inputs:
    """Cut a scored micro-batch (pairs, corrections, thumbs, in this order) into what `mixed_loss` takes."""
    reference = reference.to(scored.sums.device)
    groups = [[example for example in examples if example.kind == kind] for kind in KINDS]
    starts = [0, *itertools.accumulate(sum(len(example.replies) for example in members) for members in groups)]
    pairs, corrections, thumbs = groups
    return _Inputs(
        _pairs(pairs, scored, reference, starts[0]) if pairs else None,
        _corrections(corrections, scored, reference, starts[1], unchanged_weight) if corrections else None,
        _thumbs(thumbs, scored, reference, starts[2]) if thumbs else None,
    )


def _pairs(members: Sequence[Example], scored: Scored, reference: Tensor, start: int) -> Pairs:
    policy, theirs, lengths = _sides(len(members), scored, reference, start)
    flips = scored.sums.new_tensor([example.flip_rate for example in members])
    return Pairs(policy, theirs, lengths, flips, _weights(members, scored))


def _corrections(
    members: Sequence[Example], scored: Scored, reference: Tensor, start: int, unchanged_weight: float
) -> Corrections:
    policy, theirs, lengths = _sides(len(members), scored, reference, start)
    changed_nll, num_changed = _changes(members, scored, start, unchanged_weight)
    return Corrections(policy, theirs, lengths, changed_nll, num_changed, _weights(members, scored))


def _thumbs(members: Sequence[Example], scored: Scored, reference: Tensor, start: int) -> Thumbs:
    here = slice(start, start + len(members))
    up = torch.tensor([example.up for example in members], device=scored.sums.device)
    return Thumbs(scored.sums[here], reference[here], scored.lengths[here], up, _weights(members, scored))


def _sides(count: int, scored: Scored, reference: Tensor, start: int) -> tuple[PairLogps, PairLogps, PairLengths]:
    good, bad = slice(start, start + 2 * count, 2), slice(start + 1, start + 2 * count, 2)
    policy, theirs = PairLogps(scored.sums[good], scored.sums[bad]), PairLogps(reference[good], reference[bad])
    return policy, theirs, PairLengths(scored.lengths[good], scored.lengths[bad])


def _weights(members: Sequence[Example], scored: Scored) -> Tensor:
    return scored.sums.new_tensor([example.weight for example in members])


def _changes(members: Sequence[Example], scored: Scored, start: int, unchanged_weight: float) -> tuple[Tensor, Tensor]:
    """Return the likelihood loss of each correction's changed tokens, and how many there are; its replies are `start`,
    `start + 2`, ...
    """
    token_weights: list[float] = []
    numbers: list[float] = []
    where: list[int] = []
    offsets = torch.cat([scored.lengths.new_zeros(1), scored.lengths.cumsum(0)]).tolist()
    for place, example in enumerate(members):
        if example.good is None or example.bad is None:
            raise AssertionError("a correction has both sides")
        change = change_of(example.bad.ids, example.good.ids, unchanged_weight=unchanged_weight)
        token_weights += change.weights
        numbers.append(float(change.num_changed))
        where += range(offsets[start + 2 * place], offsets[start + 2 * place + 1])
    places = torch.tensor(where, dtype=torch.long, device=scored.sums.device)
    branch = (scored.reply[places] - start) // 2
    values, _ = weighted_nll_loss(
        scored.token_logps[places], scored.sums.new_tensor(token_weights), branch, len(members)
    )
    return values, scored.sums.new_tensor(numbers)
