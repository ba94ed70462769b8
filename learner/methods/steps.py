"""One optimizer step's gradients: examples and anchors, in passes that fit the token budget, spread over all ranks."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import torch

from learner.algorithms.mixed import MixedSettings, Totals, mixed_loss, totals_of
from learner.algorithms.reduction import Term, combine
from learner.data.examples import Example
from learner.methods.loss_inputs import KINDS, inputs_of
from learner.methods.step_metrics import step_summary
from learner.model import distributed
from learner.model.anchors import Anchor
from learner.model.drift import anchor_kl
from learner.model.reference import Reference
from learner.model.resident import Resident
from learner.model.scoring import Row, least_fill_for, length_buckets, row_of, score
from learner.settings import LearnerSettings


def mixed_settings(settings: LearnerSettings) -> MixedSettings:
    """Return the factors of the mixed update for the algorithm in force; sft has no preference terms."""
    factors = MixedSettings(
        pair_kind=settings.pairs.loss,
        thumb_kind=settings.thumbs.loss,
        beta=settings.beta,
        nll=settings.nll_weight,
        anchor=settings.anchors.weight,
    )
    if settings.algorithm != "sft":
        return factors
    return replace(factors, thumb_scale=0.0, correction_full_tokens=float("inf"), nll=max(settings.nll_weight, 1.0))


def step_totals(trained: Sequence[Example], batch_size: int, num_anchor_tokens: int) -> Totals:
    """Return the sums of example weights that a step divides by: those of the whole update, scaled to one batch.

    Dividing by a batch's own sum would give a lightly weighted example that is alone the force of a full one.
    """
    pairs = [example.example_weight for example in trained if example.kind == "pair"]
    thumbs = [(example.example_weight, example.up) for example in trained if example.kind == "thumb"]
    corrections = [example.example_weight for example in trained if example.kind == "correction"]
    whole = totals_of(pairs, thumbs, corrections, num_anchor_tokens)
    share = batch_size / len(trained)
    return Totals(whole.feedback * share, whole.nll * share, whole.anchor_tokens)


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
    """Add the gradients of one step's loss to the resident weights; return the loss and its metrics.

    `budget` is the most tokens of one pass, padding included; `z0` is KTO's baseline in nats.
    """
    loss_sum = 0.0
    seen: dict[str, list[tuple[float, int]]] = defaultdict(list)
    units = _by_prompt(batch, budget)
    mine = [units[index] for index in distributed.share([_row(unit).length for unit in units])]
    for group in micro_batches(resident, [_row(unit).length for unit in mine], budget):
        chosen = sorted((mine[index] for index in group), key=_sort_key)
        examples = [example for unit in chosen for example in unit]
        with resident.autocast():
            scored = score(resident.model, [_row(unit) for unit in chosen])
        inputs = inputs_of(examples, scored, reference.sums(examples), mixed.correction_unchanged_weight)
        loss, metrics = mixed_loss(
            totals, mixed, pairs=inputs.pairs, thumbs=inputs.thumbs, corrections=inputs.corrections, z0=z0
        )
        loss.backward()
        loss_sum += loss.item()
        for name, value in (metrics | inputs.good_log_ratio()).items():
            seen[name].append((value, _count_of(name, examples)))
    anchor_loss, metrics = anchor_backward(resident, anchors, mixed.anchor, budget)
    return sum(distributed.gathered(loss_sum)) + anchor_loss, step_summary(seen) | metrics


def anchor_backward(
    resident: Resident, anchors: Sequence[Anchor], scale: float, budget: int
) -> tuple[float, dict[str, float]]:
    """Add the gradients of `scale` times the mean KL to the base per anchor token; return that loss and its metrics."""
    if not anchors:
        return 0.0, {}
    num_tokens, kl_sum = sum(len(anchor.completion_ids) for anchor in anchors), 0.0
    lengths = [anchor.num_tokens for anchor in anchors]
    mine = distributed.share(lengths)
    for group in micro_batches(resident, [lengths[index] for index in mine], budget):
        some = [anchors[mine[index]] for index in group]
        kl = anchor_kl(resident, some)
        loss, _ = combine([Term("anchor", kl, torch.ones_like(kl), num_tokens, scale)])
        loss.backward()
        kl_sum += kl.sum().item()
    kl_sum = sum(distributed.gathered(kl_sum))
    return scale * kl_sum / num_tokens, {"anchor/kl": kl_sum / num_tokens, "loss/anchor": scale * kl_sum / num_tokens}


def micro_batches(resident: Resident, lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Return the indices of a step's rows in passes of like length."""
    return length_buckets(lengths, budget, least_fill=least_fill_for(resident.model))


def num_good(examples: Sequence[Example]) -> int:
    """Return how many completions are to become likelier: chosen, corrected, or with a thumb up."""
    return sum(example.good is not None for example in examples)


def _by_prompt(batch: Sequence[Example], budget: int) -> list[list[Example]]:
    """Return the examples in units that each share one row: same kind, same prompt, at most `budget` tokens.

    An example that alone is longer makes a unit of its own.
    """
    units: list[list[Example]] = []
    for example in sorted(batch, key=lambda example: _sort_key([example])):
        if units and _sort_key(units[-1]) == _sort_key([example]) and _row([*units[-1], example]).length <= budget:
            units[-1].append(example)
        else:
            units.append([example])
    return units


def _sort_key(unit: Sequence[Example]) -> tuple[int, tuple[int, ...]]:
    return KINDS.index(unit[0].kind), unit[0].prompt_ids


def _row(unit: Sequence[Example]) -> Row:
    return row_of(unit[0].prompt_ids, *(side.ids for example in unit for side in example.completions))


def _count_of(name: str, examples: Sequence[Example]) -> int:
    """Return how many of a pass's examples a metric is the mean of."""
    kind, _, what = name.partition("/")
    if kind == "good":
        return num_good(examples)
    side = {"up_log_ratio": True, "down_log_ratio": False}.get(what)
    return sum(example.kind == kind and side in (None, example.up) for example in examples)
