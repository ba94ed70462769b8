"""Trust in raters, estimated from their agreement with others: Crowd-BT for pairs, Dawid-Skene for thumbs.

Trust is the probability that a rater is right. Both methods are expectation-maximization with a prior on trust. They
find a minority of unreliable raters. From 40 % on, unreliable raters reverse the estimate, so known raters are pinned.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class PairRaters(NamedTuple):
    """What pairs show of raters and of completions."""

    trust: dict[Hashable, float]
    """eta per rater, the probability of preferring the better completion; `flip_rate` is 1 - eta."""
    scores: dict[Hashable, float]
    """Bradley-Terry score per completion, in logits, centered by its prior."""


class ThumbRaters(NamedTuple):
    """What thumbs show of raters and of completions."""

    hit_rate: dict[Hashable, float]
    """P(up | good) per rater."""
    correct_rejection: dict[Hashable, float]
    """P(down | bad) per rater."""
    good: dict[Hashable, float]
    """P(good) per completion."""


def _numbered(keys: Sequence[Hashable]) -> tuple[list[Hashable], Ints]:
    names = list(dict.fromkeys(keys))
    indices = {name: index for index, name in enumerate(names)}
    return names, np.array([indices[key] for key in keys], dtype=np.int64)


def pair_raters(
    comparisons: Sequence[tuple[Hashable, Hashable, Hashable]],
    *,
    pinned: Mapping[Hashable, float] | None = None,
    prior_mean: float = 0.8,
    prior_strength: float = 9.0,
    score_precision: float = 0.3,
    num_rounds: int = 60,
) -> PairRaters:
    """Return raters' trust and completions' scores from (rater, better, worse) comparisons.

    Crowd-BT (Chen et al. WSDM 2013): P(k prefers i to j) = eta_k s(i - j) + (1 - eta_k) s(j - i). The prior of eta is
    worth `prior_strength` comparisons with mean `prior_mean`. The prior of a score is normal with precision
    `score_precision`. `pinned` fixes eta of known raters. The ranking starts from theirs, so a larger group of others
    cannot reverse it.
    """
    if not comparisons:
        return PairRaters({}, {})
    rater_names, rater = _numbered([comparison[0] for comparison in comparisons])
    completion_names, completion = _numbered([key for comparison in comparisons for key in comparison[1:]])
    better, worse = completion[0::2], completion[1::2]
    fixed = np.array([(pinned or {}).get(name, np.nan) for name in rater_names])
    counts = np.bincount(rater, minlength=len(rater_names))
    scores = np.zeros(len(completion_names))
    # With known raters the rest start at a half, which carries no information: the first ranking is the known raters'.
    trust = np.where(np.isnan(fixed), prior_mean if np.isnan(fixed).all() else 0.5, fixed)
    for _ in range(num_rounds):
        agreed = 1.0 / (1.0 + np.exp(scores[worse] - scores[better]))
        right = trust[rater] * agreed
        right = right / (right + (1.0 - trust[rater]) * (1.0 - agreed))
        scores = _scores(scores, better, worse, right, score_precision)
        learned = (np.bincount(rater, right, len(rater_names)) + prior_mean * prior_strength) / (
            counts + prior_strength
        )
        trust = np.where(np.isnan(fixed), learned, fixed)
    return PairRaters(
        dict(zip(rater_names, trust.tolist(), strict=True)), dict(zip(completion_names, scores.tolist(), strict=True))
    )


def _scores(scores: Floats, better: Ints, worse: Ints, right: Floats, precision: float, num_steps: int = 8) -> Floats:
    """Return the scores that maximize the expected log-likelihood, by damped diagonal Newton steps.

    A comparison counts with the probability `right` that its rater is right about it.
    """
    size = len(scores)
    for _ in range(num_steps):
        agreed = 1.0 / (1.0 + np.exp(scores[worse] - scores[better]))
        pull, curve = right - agreed, agreed * (1.0 - agreed)
        gradient = np.bincount(better, pull, size) - np.bincount(worse, pull, size) - precision * scores
        curvature = np.bincount(better, curve, size) + np.bincount(worse, curve, size) + precision
        scores = scores + 0.5 * gradient / curvature
    return scores


def thumb_raters(
    thumbs: Sequence[tuple[Hashable, Hashable, bool]],
    *,
    pinned: Mapping[Hashable, tuple[float, float]] | None = None,
    prior_mean: float = 0.8,
    prior_strength: float = 9.0,
    good_share: float = 0.5,
    num_rounds: int = 60,
) -> ThumbRaters:
    """Return both rates of each rater and P(good) of each completion from (rater, completion, up) thumbs.

    Dawid & Skene 1979, with two coins. The prior of each rate is worth `prior_strength` thumbs with mean `prior_mean`;
    `good_share` is the prior of a good completion. `pinned` fixes (P(up | good), P(down | bad)) of known raters, from
    which the estimates start.
    """
    if not thumbs:
        return ThumbRaters({}, {}, {})
    rater_names, rater = _numbered([thumb[0] for thumb in thumbs])
    completion_names, completion = _numbered([thumb[1] for thumb in thumbs])
    up = np.array([thumb[2] for thumb in thumbs], dtype=bool)
    fixed = np.array([(pinned or {}).get(name, (np.nan, np.nan)) for name in rater_names]).T
    # As with pairs: where some are known the rest start at a half, so a larger group cannot reverse the estimate.
    rates = np.where(np.isnan(fixed), prior_mean if np.isnan(fixed).all() else 0.5, fixed)
    prior_logit = np.log(good_share) - np.log1p(-good_share)
    for _ in range(num_rounds):
        hit, reject = np.clip(rates, 1e-6, 1.0 - 1e-6)[:, rater]
        evidence = np.where(up, np.log(hit) - np.log1p(-reject), np.log1p(-hit) - np.log(reject))
        good = 1.0 / (1.0 + np.exp(-prior_logit - np.bincount(completion, evidence, len(completion_names))))
        learned = [_rate(rater, up, good[completion], len(rater_names), prior_mean, prior_strength)]
        learned.append(_rate(rater, ~up, 1.0 - good[completion], len(rater_names), prior_mean, prior_strength))
        rates = np.where(np.isnan(fixed), np.stack(learned), fixed)
    return ThumbRaters(
        dict(zip(rater_names, rates[0].tolist(), strict=True)),
        dict(zip(rater_names, rates[1].tolist(), strict=True)),
        dict(zip(completion_names, good.tolist(), strict=True)),
    )


def _rate(
    rater: Ints, is_right: NDArray[np.bool_], belongs: Floats, num_raters: int, prior_mean: float, prior_strength: float
) -> Floats:
    """Return the expected share of a rater's thumbs on completions of one kind that label them so, with a prior."""
    num_right = np.bincount(rater, belongs * is_right, num_raters) + prior_mean * prior_strength
    return num_right / (np.bincount(rater, belongs, num_raters) + prior_strength)
