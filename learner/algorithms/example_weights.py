"""How much each piece of feedback counts: kind, rater's reliability, freshness, repetition, and no rater above a share."""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import Literal

FeedbackKind = Literal["pair", "thumb", "correction", "implicit"]
KIND_WEIGHTS: dict[FeedbackKind, float] = {"correction": 1.5, "pair": 1.0, "thumb": 0.7, "implicit": 0.2}
SIDE_RATIO = 3.0  # most weight of the thumbs of one direction against those of the other


def reliability(flip_rate: float) -> float:
    """Return `(1 - 2 flip_rate)^2`, what a label that is wrong at that rate tells relative to a clean one (Fisher
    information).

    `flip_rate` is in [0, 0.5]; a rater who errs more often than that counts nothing here rather than the other way
    round.
    """
    return (1.0 - 2.0 * min(flip_rate, 0.5)) ** 2


def freshness(version_gap: int, *, half_life: float = 8.0) -> float:
    """Return the weight of feedback on a reply that is `version_gap` >= 0 versions old: half after `half_life`
    versions.
    """
    return 0.5 ** (version_gap / half_life)


def repetition(clusters: Sequence[Hashable]) -> list[float]:
    """Return `1 / sqrt(n)` for each item of a cluster (same rater, same prompt) of n: saying it again tells less each
    time.
    """
    sizes = Counter(clusters)
    return [1.0 / math.sqrt(sizes[cluster]) for cluster in clusters]


def capped_by_rater(weights: Sequence[float], raters: Sequence[Hashable], *, cap: float = 0.1) -> list[float]:
    """Return the weights, scaled down per rater so that none holds more than `cap` of what remains.

    With few raters nobody can stay under a small share, so the share allowed is never below twice an equal one; with
    one
    or two raters nothing changes. What is cut is not handed to the others.
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
    """Return the largest L such that sums cut to L hold at most `share` each: with k sums cut, L = share * rest / (1 -
    k share).

    Ends before 1 - k share does: `share` is at least twice an equal one, so those not cut then hold more than the
    largest of them.
    """
    rest, num_cut = sum(descending), 0
    while descending[num_cut] > (limit := share * rest / (1.0 - num_cut * share)) * (1.0 + 1e-12):
        rest -= descending[num_cut]
        num_cut += 1
    return limit


def capped_by_side(weights: Sequence[float], up: Sequence[bool], *, ratio: float = SIDE_RATIO) -> list[float]:
    """Return thumbs' weights with the heavier side scaled down to `ratio` times the lighter one, lest one side drags
    all replies along.

    Where one side is absent nothing changes: what there is to learn is all on the other, and the anchor holds it.
    """
    ups = sum(weight for weight, is_up in zip(weights, up, strict=True) if is_up)
    downs = sum(weights) - ups
    if not ups > 0 or not downs > 0:
        return list(weights)
    factors = {True: min(1.0, ratio * downs / ups), False: min(1.0, ratio * ups / downs)}
    return [weight * factors[bool(is_up)] for weight, is_up in zip(weights, up, strict=True)]
