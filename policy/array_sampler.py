"""The plain sampler (policy/sampler.py) for one row of logits, in numpy: runners without torch sample with it."""

import hashlib
import math
import threading
from collections.abc import Sequence

import numpy as np

from policy.runners.base import SamplingSettings
from policy.weights import Array

LIKELY = (1e-3, 1e-6, 0.0)  # relative to the likeliest token: a first cut, so that few tokens are sorted
BLOCK = 256  # tokens whose probabilities are summed first
_local = threading.local()


def uniform_number(seed: int, step: int) -> float:
    """Return a pseudo-random number in [0, 1), the same for the same seed and step."""
    octets = hashlib.blake2b(f"{seed}:{step}".encode(), digest_size=8).digest()
    return (int.from_bytes(octets, "little") >> 11) * 2.0**-53


def sampled_token(
    logits: Array, settings: SamplingSettings, history: Sequence[int], prompt: Sequence[int] = ()
) -> tuple[int, float]:
    """Return (token, raw log-probability in nats) from `logits` (V,), which stay unchanged.

    `history` are the completion's tokens so far; only a repetition penalty reads the `prompt`. The token is that of
    `policy.sampler.sampled_tokens`.
    """
    space = _space(len(logits))
    chances, top = _chances(logits, space[0])
    scores = _penalized(logits, settings, history, prompt, space[1])
    if settings.temperature == 0:
        token = int(scores.argmax())
    else:
        number = uniform_number(settings.seed, len(history))
        scaled = chances
        if scores is not logits or settings.temperature != 1.0:
            scores = np.divide(scores, np.float32(settings.temperature), out=space[1])
            scaled, _ = _chances(scores, space[2])
        token = _picked(scaled, settings, number)
    return token, float(logits[token]) - top - math.log(float(chances.sum()))


def _space(size: int) -> list[Array]:
    """Return arrays to compute in, since new ones of this size cost more than the computation."""
    if getattr(_local, "size", 0) != size:
        _local.size, _local.arrays = size, [np.empty(size, np.float32) for _ in range(3)]
    arrays: list[Array] = _local.arrays
    return arrays


def token_logps(logits: Array, tokens: Sequence[int]) -> list[float]:
    """Return the log-probability (nats) of one token for each row of `logits` (n, V)."""
    found = []
    for row, token in zip(logits, tokens, strict=True):
        chances, top = _chances(row, _space(len(row))[0])
        found.append(float(row[token]) - top - math.log(float(chances.sum())))
    return found


def likeliest(logits: Array, count: int) -> list[tuple[int, float]]:
    """Return the `count` likeliest tokens of `logits` (V,), best first, with their log-probabilities in nats."""
    chances, top = _chances(logits, _space(len(logits))[0])
    whole = top + math.log(float(chances.sum()))
    found = _likely(chances, min(count, len(logits)))
    best = found[np.argsort(-logits[found], kind="stable")][:count]
    return [(int(token), float(logits[token]) - whole) for token in best]


def _chances(scores: Array, out: Array) -> tuple[Array, float]:
    """Return probabilities up to a factor, in float32, and the largest score."""
    top = scores.max()
    np.subtract(scores, top, out=out)
    return np.exp(out, out=out), float(top)


def _penalized(
    logits: Array, settings: SamplingSettings, history: Sequence[int], prompt: Sequence[int], out: Array
) -> Array:
    penalty = settings.repetition_penalty
    is_counted = bool(history) and bool(settings.presence_penalty or settings.frequency_penalty)
    if penalty == 1.0 and not is_counted:
        return logits
    np.copyto(out, logits)
    if penalty != 1.0 and (history or prompt):
        seen = np.unique(np.asarray([*prompt, *history]))
        out[seen] = np.where(logits[seen] < 0, logits[seen] * np.float32(penalty), logits[seen] / np.float32(penalty))
    if not is_counted:
        return out
    tokens, counts = np.unique(np.asarray(history), return_counts=True)
    out[tokens] -= np.float32(settings.presence_penalty)
    out[tokens] -= (settings.frequency_penalty * counts).astype(np.float32)
    return out


def _picked(chances: Array, settings: SamplingSettings, number: float) -> int:
    """Return the token at `number` of the cumulative distribution, after top-k, top-p and min-p."""
    count = settings.top_k if 0 < settings.top_k < len(chances) else 0
    if count or settings.top_p < 1 or settings.min_p:
        is_cut = count or settings.top_p < 1
        kept = _kept(chances, count, settings.top_p) if is_cut else np.flatnonzero(chances >= settings.min_p)
        kept = kept[chances[kept] >= settings.min_p]  # the likeliest one's is 1
        heaps = np.cumsum(chances[kept], dtype=np.float64)
        return int(kept[_index(heaps, number)])
    return _index_in_blocks(chances, number)


def _index_in_blocks(chances: Array, number: float) -> int:
    """Return what `_index` returns for the cumulative sums, which for a large vocabulary take longer than the rest."""
    starts = np.arange(0, len(chances), BLOCK)
    sums = np.cumsum(np.add.reduceat(chances, starts), dtype=np.float64)
    block = _index(sums, number)
    aim = number * sums[-1] - (sums[block - 1] if block else 0.0)
    heaps = np.cumsum(chances[starts[block] : starts[block] + BLOCK], dtype=np.float64)
    index = min(int(np.searchsorted(heaps, aim, side="right")), len(heaps) - 1)
    while index and not chances[starts[block] + index]:  # rounding: never a token of probability 0
        index -= 1
    return int(starts[block]) + index


def _index(heaps: Array, number: float) -> int:
    return min(int(np.searchsorted(heaps, number * heaps[-1], side="right")), len(heaps) - 1)


def _kept(chances: Array, count: int, top_p: float) -> Array:
    """Return in order of id the `count` likeliest tokens (0: all), and of those the fewest that hold `top_p`.

    Of equally likely ones those of lower id come first.
    """
    least = 0.0 if count else float(top_p * chances.sum())
    found = _likely(chances, count, least)
    among = chances[found]
    values = np.sort(among)[::-1]  # values alone: sorting ids along takes ten times as long
    values = values[:count] if count else values
    if top_p < 1:
        before = np.cumsum(values, dtype=np.float64) - values
        values = values[: max(1, int(np.searchsorted(before, top_p * values.sum() if count else least)))]
    above, level = found[among > values[-1]], found[among == values[-1]]
    return np.sort(np.concatenate([above, level[: len(values) - len(above)]]))


def _likely(chances: Array, count: int, least: float = 0.0) -> Array:
    """Return the `count` likeliest tokens and others, or with 0 all likelier than those that hold `least`."""
    found = np.arange(0)
    for limit in LIKELY:
        found = np.flatnonzero(chances >= limit)
        if len(found) >= count if count else chances[found].sum() > least:
            break
    return found
