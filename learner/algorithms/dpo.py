"""Losses on preference pairs: DPO and its variants.

In all of them `h = logp(policy) - logp(reference)` of a completion and `margin = h_chosen - h_rejected`, in nats.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from learner.algorithms.precision import plain_floats, working

PairKind = Literal[
    "sigmoid", "robust", "ipo", "hinge", "length_normalized", "simpo", "dpop", "length_regularized", "apo_zero"
]
PAIR_KINDS: tuple[PairKind, ...] = get_args(PairKind)


class PairLogps(NamedTuple):
    """Log-probabilities of both completions of each pair, each (B,), in nats, summed over completion tokens."""

    chosen: Tensor
    rejected: Tensor


class PairLengths(NamedTuple):
    """Numbers of completion tokens of each pair, each (B,), with the end-of-turn token."""

    chosen: Tensor
    rejected: Tensor


def log_ratios(policy: PairLogps, reference: PairLogps) -> PairLogps:
    """Return h of both completions, each (B,), in nats; the reference carries no gradient."""
    return PairLogps(
        *(working(ours) - working(theirs.detach()) for ours, theirs in zip(policy, reference, strict=True))
    )


def _per_token(logps: PairLogps, lengths: PairLengths) -> PairLogps:
    return PairLogps(
        *(working(logp) / working(length).clamp(min=1.0) for logp, length in zip(logps, lengths, strict=True))
    )


def _margin(values: PairLogps) -> Tensor:
    return values.chosen - values.rejected


def _logistic(logits: Tensor, flip_rate: float | Tensor) -> Tensor:
    """Return the cross-entropy of a preference whose label is wrong with probability `flip_rate`, (B,)."""
    return -(1.0 - flip_rate) * F.logsigmoid(logits) - flip_rate * F.logsigmoid(-logits)


def _either_way(loss: Callable[[PairLogps], Tensor], h: PairLogps, flip_rate: float | Tensor) -> Tensor:
    """Return the expected loss under a label that is wrong with probability `flip_rate`; for non-logistic losses."""
    return (1.0 - flip_rate) * loss(h) + flip_rate * loss(PairLogps(h.rejected, h.chosen))


def sigmoid_loss(policy: PairLogps, reference: PairLogps, *, beta: float, flip_rate: float | Tensor = 0.0) -> Tensor:
    """DPO, `-log sigmoid(beta * margin)` (Rafailov et al. 2305.18290, eq. 7), (B,).

    With a flip rate it is conservative DPO (Mitchell, ericmitchell.ai/cdpo.pdf). `flip_rate` in [0, 0.5), a number or
    (B,), gives the finite optimum `beta * margin = log((1 - flip_rate) / flip_rate)`. A larger `beta` keeps the policy
    nearer the reference.
    """
    return _logistic(beta * _margin(log_ratios(policy, reference)), flip_rate)


def robust_loss(policy: PairLogps, reference: PairLogps, *, beta: float, flip_rate: float | Tensor) -> Tensor:
    """Robust DPO (Chowdhury et al. 2403.00409), (B,): an unbiased estimate of the loss on clean labels.

    It is unbounded below for `flip_rate` > 0, so it needs an anchor. `flip_rate` in [0, 0.5) is a number or (B,).
    """
    logits = beta * _margin(log_ratios(policy, reference))
    return (-(1.0 - flip_rate) * F.logsigmoid(logits) + flip_rate * F.logsigmoid(-logits)) / (1.0 - 2.0 * flip_rate)


def ipo_loss(
    policy: PairLogps, reference: PairLogps, lengths: PairLengths, *, tau: float, flip_rate: float | Tensor
) -> Tensor:
    """IPO (Azar et al. 2310.12036, eq. 17) on per-token log-ratios, as its authors ran it, (B,).

    `tau` > 0 is the strength of the regularization.
    """
    h = _per_token(log_ratios(policy, reference), lengths)
    return _either_way(lambda pair: (_margin(pair) - 1.0 / (2.0 * tau)) ** 2, h, flip_rate)


def hinge_loss(policy: PairLogps, reference: PairLogps, *, beta: float, flip_rate: float | Tensor) -> Tensor:
    """SLiC's hinge on DPO's margin, `max(0, 1 - beta * margin)`, (B,).

    Zhao et al. 2305.10425; Liu et al. 2309.06657.
    """
    return _either_way(lambda pair: torch.relu(1.0 - beta * _margin(pair)), log_ratios(policy, reference), flip_rate)


def length_normalized_loss(
    policy: PairLogps, reference: PairLogps, lengths: PairLengths, *, beta: float, flip_rate: float | Tensor
) -> Tensor:
    """DPO on per-token log-ratios (Lambert et al. 2411.15124), (B,).

    `beta` is per token: 2 to 5 rather than 0.1.
    """
    return _logistic(beta * _margin(_per_token(log_ratios(policy, reference), lengths)), flip_rate)


def simpo_loss(
    policy: PairLogps, lengths: PairLengths, *, beta: float, gamma: float, flip_rate: float | Tensor
) -> Tensor:
    """SimPO (Meng et al. 2405.14734, eq. 6), (B,): per-token log-probabilities and no reference.

    `gamma` is the target margin.
    """
    return _logistic(beta * _margin(_per_token(policy, lengths)) - gamma, flip_rate)


def dpop_loss(
    policy: PairLogps, reference: PairLogps, *, beta: float, penalty: float, flip_rate: float | Tensor
) -> Tensor:
    """DPO-Positive, DPO on `margin - penalty * max(0, -h_chosen)` (Pal et al. 2402.13228), (B,).

    It penalizes displacement: a chosen completion that becomes less likely than under the reference. `penalty` (their
    lambda) is 5 to 50.
    """
    h = log_ratios(policy, reference)
    return _logistic(beta * (_margin(h) - penalty * torch.relu(-h.chosen)), flip_rate)


def length_regularized_loss(
    policy: PairLogps,
    reference: PairLogps,
    lengths: PairLengths,
    *,
    beta: float,
    length_alpha: float,
    flip_rate: float | Tensor,
) -> Tensor:
    """R-DPO, DPO on `beta * margin + length_alpha (L_chosen - L_rejected)` (Park et al. 2403.19159), (B,).

    Length explains part of why a longer completion is preferred, so it needs less margin. `length_alpha` is per token;
    0.01 is a start.
    """
    longer = working(lengths.chosen) - working(lengths.rejected)
    return _logistic(beta * _margin(log_ratios(policy, reference)) + length_alpha * longer, flip_rate)


def apo_zero_loss(policy: PairLogps, reference: PairLogps, *, beta: float, flip_rate: float | Tensor) -> Tensor:
    """APO-zero (D'Oosterlinck et al. 2408.06266, eq. 7), (B,): raise the chosen and lower the rejected separately.

    It fits where the chosen completion is better than the policy's own, as a person's correction is.
    """
    return _either_way(
        lambda pair: 1.0 - torch.sigmoid(beta * pair.chosen) + torch.sigmoid(beta * pair.rejected),
        log_ratios(policy, reference),
        flip_rate,
    )


def pair_loss(
    kind: PairKind,
    policy: PairLogps,
    reference: PairLogps,
    lengths: PairLengths,
    *,
    beta: float,
    flip_rate: float | Tensor = 0.0,
    gamma: float = 1.0,
    penalty: float = 5.0,
    length_alpha: float = 0.01,
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of that kind per pair, (B,), unreduced, and plain-float means over the batch.

    `beta` is IPO's tau for `ipo`. `gamma` is used by SimPO alone, `penalty` by DPO-Positive, `length_alpha` by R-DPO.
    Every kind takes `flip_rate`, the probability in [0, 0.5) that a label is wrong, as a number or (B,). Raises
    ValueError for another kind.
    """
    losses: dict[PairKind, Callable[[], Tensor]] = {
        "sigmoid": lambda: sigmoid_loss(policy, reference, beta=beta, flip_rate=flip_rate),
        "robust": lambda: robust_loss(policy, reference, beta=beta, flip_rate=flip_rate),
        "ipo": lambda: ipo_loss(policy, reference, lengths, tau=beta, flip_rate=flip_rate),
        "hinge": lambda: hinge_loss(policy, reference, beta=beta, flip_rate=flip_rate),
        "length_normalized": lambda: length_normalized_loss(policy, reference, lengths, beta=beta, flip_rate=flip_rate),
        "simpo": lambda: simpo_loss(policy, lengths, beta=beta, gamma=gamma, flip_rate=flip_rate),
        "dpop": lambda: dpop_loss(policy, reference, beta=beta, penalty=penalty, flip_rate=flip_rate),
        "length_regularized": lambda: length_regularized_loss(
            policy, reference, lengths, beta=beta, length_alpha=length_alpha, flip_rate=flip_rate
        ),
        "apo_zero": lambda: apo_zero_loss(policy, reference, beta=beta, flip_rate=flip_rate),
    }
    if kind not in losses:
        raise ValueError(f"unknown pair loss {kind!r}; use one of {', '.join(PAIR_KINDS)}")
    return losses[kind](), pair_metrics(policy, reference)


def pair_metrics(policy: PairLogps, reference: PairLogps) -> dict[str, float]:
    """Return batch means in nats of the margin and both log-ratios, and the share of margins above 0.

    A chosen log-ratio below -1 is displacement.
    """
    if policy.chosen.numel() == 0:
        return {}
    h = log_ratios(policy, reference)
    margin = _margin(h)
    return plain_floats(
        {
            "pair/margin": margin.mean(),
            "pair/accuracy": (margin > 0).double().mean(),
            "pair/chosen_log_ratio": h.chosen.mean(),
            "pair/rejected_log_ratio": h.rejected.mean(),
        }
    )
