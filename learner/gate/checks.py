"""The gate: whether a candidate may be served. Pure: evidence and limits in, a report out.

It tests for passing, never for failing: a value that is not a number passes no comparison.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from learner.settings import LearnerSettings

MIN_HELD_OUT = 4  # fewer held-out judgements decide nothing
MIN_PROBES = 16  # fewer probes decide nothing
MAX_LIVE_KL = 4.0  # nats per sample, to live
MAX_ENDLESS_RISE = 0.25  # by how much the share of samples that do not end may rise over live
MAX_EMPTY_RISE = 0.1  # the same of empty samples
MIN_GAIN = 0.0  # nats of held-out feedback over live, that the upper 95 % bound must reach
Z95 = 1.645  # one-sided


@dataclass(frozen=True)
class Evidence:
    """What was measured of a candidate, in nats where nothing else is said.

    `gains`: per held-out judgement, by how much the candidate leans further to what people said than live does;
    `gain_weights` how much each
    of them counts, alike if none are given. `live_kl` and
    `base_kl`: KL of the candidate to live and base per reply of its own. `anchor_kl`: KL of base to candidate per token
    of base's replies.
    `skill_gains`: per probe, 1 where the candidate is right and live is not, -1 the other way round, 0 for no
    difference; `base_skill_gains`
    the same against the base model: many small falls add up.
    """

    gains: tuple[float, ...]
    live_kl: float
    base_kl: float
    anchor_kl: float
    length_ratio: float
    endless_rise: float
    empty_rise: float
    weights_finite: bool
    skill_gains: tuple[int, ...] = ()
    base_skill_gains: tuple[int, ...] = ()
    gain_weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class Check:
    """One comparison; `limit` as it reads, for instance "<= 4"."""

    name: str
    value: float
    limit: str
    passed: bool


def checks_of(evidence: Evidence, limits: LearnerSettings) -> list[Check]:
    """Return every check of the gate."""
    at_most = (
        ("kl_to_live", evidence.live_kl, MAX_LIVE_KL),
        ("kl_to_base", evidence.base_kl, limits.gate.max_base_kl),
        ("retention_kl", evidence.anchor_kl, limits.gate.max_anchor_kl),
        ("endless_rise", evidence.endless_rise, MAX_ENDLESS_RISE),
        ("empty_rise", evidence.empty_rise, MAX_EMPTY_RISE),
    )
    checks = [Check("weights_finite", float(evidence.weights_finite), ">= 1", evidence.weights_finite)]
    checks += [Check(name, value, f"<= {limit:g}", value <= limit) for name, value, limit in at_most]
    low, high = 1.0 / limits.gate.max_length_ratio, limits.gate.max_length_ratio
    checks.append(
        Check("length_ratio", evidence.length_ratio, f"{low:.3g} .. {high:g}", low <= evidence.length_ratio <= high)
    )
    if len(evidence.gains) >= MIN_HELD_OUT:
        bound = upper_bound(evidence.gains, evidence.gain_weights)
        checks.append(Check("held_out_gain", bound, f">= {MIN_GAIN:g}", bound >= MIN_GAIN))
    for name, gains, limit in (
        ("skills_to_live", evidence.skill_gains, limits.gate.max_skill_drop),
        ("skills_to_base", evidence.base_skill_gains, 2.0 * limits.gate.max_skill_drop),
    ):
        if len(gains) >= MIN_PROBES:
            bound = upper_bound(gains)
            checks.append(Check(name, bound, f">= {-limit:g}", bound >= -limit))
    return checks


def report_of(checks: Sequence[Check]) -> dict[str, Any]:
    """Return what is kept with the version: `passed`, `checks`, and the `reasons` in words, empty if it passed."""
    reasons = [f"{check.name} is {check.value:.4g}, wanted {check.limit}" for check in checks if not check.passed]
    return {"passed": bool(checks) and not reasons, "checks": [_plain(check) for check in checks], "reasons": reasons}


def upper_bound(values: Sequence[float], weights: Sequence[float] = ()) -> float:
    """Return the upper end of the one-sided 95 % interval of the mean (normal), NaN if a value is.

    Weights (none: all alike) leave as many values as Kish's effective number, (sum w)^2 / (sum w^2): where few weigh
    most, the interval is wide.
    """
    shares = [weight / sum(weights) for weight in weights] if weights else [1.0 / len(values)] * len(values)
    count = 1.0 / sum(share * share for share in shares)
    mean = sum(share * value for share, value in zip(shares, values, strict=True))
    variance = sum(share * (value - mean) ** 2 for share, value in zip(shares, values, strict=True)) * count
    return mean + Z95 * math.sqrt(variance / (max(count - 1.0, 1e-9) * count))


def _plain(check: Check) -> dict[str, Any]:
    return {
        **asdict(check),
        "value": check.value if math.isfinite(check.value) else str(check.value),
    }  # JSON knows no NaN
