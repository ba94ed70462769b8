"""How far each rater can be believed, from how they agree with the others: Crowd-BT for pairs, Dawid-Skene for thumbs.

Both are expectation-maximisation with a prior for honesty. They find a dishonest minority; a dishonest majority of 40 %
and
more turns them round, so the operator and known-good raters are pinned.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class PairRaters(NamedTuple):
    """What pairs tell of raters and of replies."""

    trust: dict[Hashable, float]
    """eta per rater, the chance that they mark the better reply; `flip_rate` is 1 - eta."""
    scores: dict[Hashable, float]
    """Bradley-Terry score per reply, in logits, centred by its prior."""


class ThumbRaters(NamedTuple):
    """What thumbs tell of raters and of replies."""

    hit_rate: dict[Hashable, float]
    """P(up | good) per rater."""
    correct_rejection: dict[Hashable, float]
    """P(down | bad) per rater."""
    good: dict[Hashable, float]
    """P(good) per reply."""


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
    """Return raters' honesty and replies' scores from (rater, better, worse) marks (Crowd-BT, Chen et al. WSDM 2013).

    P(k says i over j) = eta_k s(i - j) + (1 - eta_k) s(j - i). The prior of eta is worth `prior_strength` marks with
    mean
    `prior_mean`; that of a score is normal with precision `score_precision`. `pinned` fixes eta of raters whose honesty
    is known; the
    ranking starts from theirs, so that it is not a larger group of the others that decides which way is up.
    """
    if not comparisons:
        return PairRaters({}, {})
    rater_names, rater = _numbered([mark[0] for mark in comparisons])
    item_names, item = _numbered([key for mark in comparisons for key in mark[1:]])
    better, worse = item[0::2], item[1::2]
    fixed = np.array([(pinned or {}).get(name, np.nan) for name in rater_names])
    marks = np.bincount(rater, minlength=len(rater_names))
    scores = np.zeros(len(item_names))
    # With known raters, the rest start at a half, which says nothing: the first ranking is the known raters' own.
    trust = np.where(np.isnan(fixed), prior_mean if np.isnan(fixed).all() else 0.5, fixed)
    for _ in range(num_rounds):
        agreed = 1.0 / (1.0 + np.exp(scores[worse] - scores[better]))
        right = trust[rater] * agreed
        right = right / (right + (1.0 - trust[rater]) * (1.0 - agreed))
        scores = _scores(scores, better, worse, right, score_precision)
        learned = (np.bincount(rater, right, len(rater_names)) + prior_mean * prior_strength) / (marks + prior_strength)
        trust = np.where(np.isnan(fixed), learned, fixed)
    return PairRaters(
        dict(zip(rater_names, trust.tolist(), strict=True)), dict(zip(item_names, scores.tolist(), strict=True))
    )


def _scores(scores: Floats, better: Ints, worse: Ints, right: Floats, precision: float, num_steps: int = 8) -> Floats:
    """Maximise the expected log-likelihood in the scores by damped diagonal Newton steps; a mark counts as meant with
    `honest`.
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
    """Return both rates of each rater and P(good) of each reply from (rater, reply, up) thumbs (Dawid & Skene 1979, two
    coins).

    The prior of each rate is worth `prior_strength` thumbs with mean `prior_mean`; `good_share` is that of a good
    reply. `pinned`
    fixes (P(up | good), P(down | bad)) of raters whose judgement is known, from which all others' are first seen.
    """
    if not thumbs:
        return ThumbRaters({}, {}, {})
    rater_names, rater = _numbered([thumb[0] for thumb in thumbs])
    item_names, item = _numbered([thumb[1] for thumb in thumbs])
    up = np.array([thumb[2] for thumb in thumbs], dtype=bool)
    fixed = np.array([(pinned or {}).get(name, (np.nan, np.nan)) for name in rater_names]).T
    # As with pairs: where some are known, the rest start at a half, and it is not a larger group of them that decides
    # which way is up.
    rates = np.where(np.isnan(fixed), prior_mean if np.isnan(fixed).all() else 0.5, fixed)
    prior_logit = np.log(good_share) - np.log1p(-good_share)
    for _ in range(num_rounds):
        hit, reject = np.clip(rates, 1e-6, 1.0 - 1e-6)[:, rater]
        evidence = np.where(up, np.log(hit) - np.log1p(-reject), np.log1p(-hit) - np.log(reject))
        good = 1.0 / (1.0 + np.exp(-prior_logit - np.bincount(item, evidence, len(item_names))))
        learned = [_rate(rater, up, good[item], len(rater_names), prior_mean, prior_strength)]
        learned.append(_rate(rater, ~up, 1.0 - good[item], len(rater_names), prior_mean, prior_strength))
        rates = np.where(np.isnan(fixed), np.stack(learned), fixed)
    return ThumbRaters(
        dict(zip(rater_names, rates[0].tolist(), strict=True)),
        dict(zip(rater_names, rates[1].tolist(), strict=True)),
        dict(zip(item_names, good.tolist(), strict=True)),
    )


def _rate(
    rater: Ints, is_right: NDArray[np.bool_], belongs: Floats, num_raters: int, prior_mean: float, prior_strength: float
) -> Floats:
    """Expected share of the thumbs on replies of one sort that called them so."""
    num_right = np.bincount(rater, belongs * is_right, num_raters) + prior_mean * prior_strength
    return num_right / (np.bincount(rater, belongs, num_raters) + prior_strength)
