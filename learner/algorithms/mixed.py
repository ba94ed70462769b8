"""The default update: pairs, thumbs, corrections, likelihood and anchor as one loss with weighted examples.

    L = [ sum_pair w cDPO + sum_thumb 2w KTO + sum_correction w (min(1, changed/8) cDPO + NLL_changed) ] / W
        + alpha * sum_{chosen, up, correction} w NLL / W_nll  +  lambda * mean_{anchor tokens} KL(base || policy)

The likelihood term limits displacement (Pang et al. 2404.19733); the anchor limits all other drift.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from learner.algorithms.dpo import PairKind, PairLengths, PairLogps, pair_loss
from learner.algorithms.kto import apo_zero_unpaired_loss, kto_loss
from learner.algorithms.precision import working
from learner.algorithms.reduction import Term, combine
from learner.algorithms.sft import nll_loss

ThumbKind = Literal["kto", "apo_zero_unpaired"]


class Pairs(NamedTuple):
    """Pairs of one micro-batch; log-probabilities in nats, summed over completion tokens."""

    policy: PairLogps
    reference: PairLogps
    lengths: PairLengths
    flip_rate: Tensor  # (B,), in [0, 0.5): probability that the rater's label is wrong
    example_weights: Tensor  # (B,), >= 0


class Thumbs(NamedTuple):
    """Single completions with a thumb; every tensor (B,)."""

    logps: Tensor
    reference_logps: Tensor
    lengths: Tensor
    up: Tensor  # bool
    example_weights: Tensor


class Corrections(NamedTuple):
    """Corrections: `chosen` is the corrected completion, `rejected` the original one."""

    policy: PairLogps
    reference: PairLogps
    lengths: PairLengths
    changed_nll: Tensor  # (B,), `weighted_nll_loss` of the corrected completion by `change_of`
    num_changed: Tensor  # (B,), tokens that the correction changed
    example_weights: Tensor


class Totals(NamedTuple):
    """Weights of the whole update, over all micro-batches and ranks, known before the first forward pass."""

    feedback: float  # W: pairs, thumbs and corrections
    nll: float  # W_nll: pairs (their chosen completions), thumbs up, corrections
    anchor_tokens: float


@dataclass(frozen=True)
class MixedSettings:
    """The factors of the mixed update."""

    pair_kind: PairKind = "sigmoid"
    thumb_kind: ThumbKind = "kto"
    beta: float = 0.1
    """Strength of the hold on the reference in pairs and thumbs, per nat, > 0."""
    gamma: float = 1.0
    penalty: float = 5.0
    length_alpha: float = 0.01
    """Factors of SimPO, DPO-Positive and R-DPO, as in `pair_loss`."""
    thumb_scale: float = 2.0
    """A thumb's gradient at the start is half a pair's; this makes them equal."""
    up_weight: float = 1.0
    down_weight: float = 1.0
    correction_flip_rate: float = 0.02
    """Probability in [0, 0.5) that a correction is worse than the original."""
    correction_full_tokens: float = 8.0
    """A correction with fewer changed tokens weighs less as a pair: near-identical pairs lower both likelihoods."""
    correction_unchanged_weight: float = 0.1
    """Weight in [0, 1] of a corrected completion's unchanged tokens in `changed_nll`; `change_of` takes it."""
    correction_nll: float = 1.0
    """Factor of the likelihood of a correction's changed tokens, >= 0."""
    nll: float = 1.0
    """alpha, factor of the likelihood of chosen, up and corrected completions, >= 0."""
    anchor: float = 0.2
    """lambda, factor of the KL to the base on anchor prompts, >= 0."""


def totals_of(
    pair_weights: Sequence[float],
    thumbs: Sequence[tuple[float, bool]],
    correction_weights: Sequence[float],
    num_anchor_tokens: int,
) -> Totals:
    """Return an update's totals from the weights of all its examples; a thumb is (weight, up)."""
    shared = sum(pair_weights) + sum(correction_weights)
    return Totals(
        feedback=shared + sum(weight for weight, _ in thumbs),
        nll=shared + sum(weight for weight, up in thumbs if up),
        anchor_tokens=float(num_anchor_tokens),
    )


def mixed_loss(
    totals: Totals,
    settings: MixedSettings,
    *,
    pairs: Pairs | None = None,
    thumbs: Thumbs | None = None,
    corrections: Corrections | None = None,
    anchor_kl: Tensor | None = None,
    z0: float = 0.0,
) -> tuple[Tensor, dict[str, float]]:
    """Return this micro-batch's share of the update's loss, shape (), and plain-float metrics.

    The shares of an update's micro-batches add up to its loss, as do their gradients. Each kind may be missing.
    `anchor_kl` (M,) is `forward_kl_loss` per anchor token, `z0` is KTO's baseline. Raises ValueError if all are
    missing.
    """
    terms: list[Term] = []
    metrics: dict[str, float] = {}
    if pairs is not None:
        terms += _pair_terms(pairs, totals, settings, metrics)
    if thumbs is not None:
        terms += _thumb_terms(thumbs, totals, settings, z0, metrics)
    if corrections is not None:
        terms += _correction_terms(corrections, totals, settings, metrics)
    if anchor_kl is not None:
        terms.append(Term("anchor", anchor_kl, torch.ones_like(anchor_kl), totals.anchor_tokens, settings.anchor))
    loss, shares = combine(terms)
    return loss, metrics | shares


def _pair_terms(pairs: Pairs, totals: Totals, settings: MixedSettings, metrics: dict[str, float]) -> list[Term]:
    values, seen = _pair_values(settings, pairs.policy, pairs.reference, pairs.lengths, working(pairs.flip_rate))
    metrics |= seen
    nll, _ = nll_loss(pairs.policy.chosen, pairs.lengths.chosen)
    return [
        Term("pair", values, pairs.example_weights, totals.feedback),
        Term("nll", nll, pairs.example_weights, totals.nll, settings.nll),
    ]


def _pair_values(
    settings: MixedSettings, policy: PairLogps, reference: PairLogps, lengths: PairLengths, flip_rate: float | Tensor
) -> tuple[Tensor, dict[str, float]]:
    own = {"gamma": settings.gamma, "penalty": settings.penalty, "length_alpha": settings.length_alpha}
    return pair_loss(settings.pair_kind, policy, reference, lengths, beta=settings.beta, flip_rate=flip_rate, **own)


def _thumb_terms(
    thumbs: Thumbs, totals: Totals, settings: MixedSettings, z0: float, metrics: dict[str, float]
) -> list[Term]:
    sides = {"beta": settings.beta, "up_weight": settings.up_weight, "down_weight": settings.down_weight}
    if settings.thumb_kind == "kto":
        values, seen = kto_loss(thumbs.logps, thumbs.reference_logps, thumbs.up, z0, **sides)
    else:
        values, seen = apo_zero_unpaired_loss(thumbs.logps, thumbs.reference_logps, thumbs.up, **sides)
    metrics |= seen
    nll, _ = nll_loss(thumbs.logps, thumbs.lengths)
    return [
        Term("thumb", values, thumbs.example_weights, totals.feedback, settings.thumb_scale),
        Term("nll", nll, thumbs.example_weights * thumbs.up, totals.nll, settings.nll),
    ]


def _correction_terms(
    corrections: Corrections, totals: Totals, settings: MixedSettings, metrics: dict[str, float]
) -> list[Term]:
    values, seen = _pair_values(
        settings, corrections.policy, corrections.reference, corrections.lengths, settings.correction_flip_rate
    )
    metrics |= {f"correction/{name.removeprefix('pair/')}": value for name, value in seen.items()}
    changed_share = (corrections.num_changed / settings.correction_full_tokens).clamp(max=1.0)
    pair_weights = corrections.example_weights * changed_share
    nll, _ = nll_loss(corrections.policy.chosen, corrections.lengths.chosen)
    return [
        Term("correction", values, pair_weights, totals.feedback),
        Term(
            "correction_nll",
            corrections.changed_nll,
            corrections.example_weights,
            totals.feedback,
            settings.correction_nll,
        ),
        Term("nll", nll, corrections.example_weights, totals.nll, settings.nll),
    ]
