"""How much each example counts: by kind, reliability of its rater, freshness, repetition, and share of its rater."""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import Literal

FeedbackKind = Literal["pair", "thumb", "correction", "implicit"]
KIND_WEIGHTS: dict[FeedbackKind, float] = {"correction": 1.5, "pair": 1.0, "thumb": 0.7, "implicit": 0.2}
SIDE_RATIO = 3.0  # most weight of the thumbs of one direction against those of the other


def reliability(flip_rate: float) -> float:
    """Return `(1 - 2 flip_rate)^2`, the Fisher information of a label wrong at that rate against a clean one.

    `flip_rate` is in [0, 0.5]. A rater who errs more often counts nothing, rather than the other way round.
    """
    return (1.0 - 2.0 * min(flip_rate, 0.5)) ** 2


def freshness(version_gap: int, *, half_life: float = 8.0) -> float:
    """Return the weight of feedback on a completion that is `version_gap` >= 0 versions old.

    It halves with every `half_life` versions.
    """
    return 0.5 ** (version_gap / half_life)


def repetition(clusters: Sequence[Hashable]) -> list[float]:
    """Return `1 / sqrt(n)` for each example of a cluster of n: repeated feedback adds less each time.

    A cluster is the feedback of one rater on one prompt.
    """
    sizes = Counter(clusters)
    return [1.0 / math.sqrt(sizes[cluster]) for cluster in clusters]


def capped_by_rater(weights: Sequence[float], raters: Sequence[Hashable], *, cap: float = 0.1) -> list[float]:
    """Return the weights, scaled down per rater so that none holds more than `cap` of what remains.

    The share allowed is at least twice an equal share, since few raters cannot all stay below a small one. With one or
    two raters nothing changes. The weight that is cut goes to nobody.
    """
    sums: dict[Hashable, float] = defaultdict(float)
    for weight, rater in zip(weights, raters, strict=True):
        sums[rater] += weight
    descending = sorted((total for total in sums.values() if total > 0), reverse=True)
    if not descending:
        return list(weights)
    limit = _limit(descending, max(cap, 2.0 / len(descending)))
    return [
        weight * min(1.0, limit / sums[rater]) if sums[rater] > 0 else 0.0
        for weight, rater in zip(weights, raters, strict=True)
    ]


def _limit(descending: Sequence[float], share: float) -> float:
    """Return the largest L such that sums cut to L hold at most `share` each.

    With k sums cut, `L = share * rest / (1 - k share)`. `share` is at least twice an equal one, so the loop ends while
    `1 - k share` is positive: then those not cut hold more than the largest of them.
    """
    rest, num_cut = sum(descending), 0
    while descending[num_cut] > (limit := share * rest / (1.0 - num_cut * share)) * (1.0 + 1e-12):
        rest -= descending[num_cut]
        num_cut += 1
    return limit


def capped_by_side(weights: Sequence[float], up: Sequence[bool], *, ratio: float = SIDE_RATIO) -> list[float]:
    """Return thumbs' weights with the heavier side scaled down to `ratio` times the lighter one.

    Otherwise one direction would raise or lower all completions. Where one side is absent nothing changes: the anchor
    holds the policy then.
    """
    ups = sum(weight for weight, is_up in zip(weights, up, strict=True) if is_up)
    downs = sum(weights) - ups
    if not ups > 0 or not downs > 0:
        return list(weights)
    factors = {True: min(1.0, ratio * downs / ups), False: min(1.0, ratio * ups / downs)}
    return [weight * factors[bool(is_up)] for weight, is_up in zip(weights, up, strict=True)]
