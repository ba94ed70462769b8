"""The gate's checks: evidence and limits in, a report out. Pure functions.

They test for passing, never for failing: NaN passes no comparison.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from learner.settings import GateSettings

MIN_HELD_OUT = 4  # fewer held-out examples decide nothing
MIN_PROBES = 16  # fewer skill probes decide nothing
MAX_LIVE_KL = 4.0  # nats per sample of the candidate, to live
MAX_ENDLESS_RISE = 0.25  # by how much the share of samples that do not end may rise over live
MAX_EMPTY_RISE = 0.1  # the same for empty samples
MIN_GAIN = 0.0  # nats of held-out feedback over live, that the upper 95 % bound must reach
Z95 = 1.645  # one-sided


@dataclass(frozen=True)
class Evidence:
    """Measurements of a candidate."""

    gains: tuple[float, ...]
    """Per held-out example: how far the candidate moved towards the feedback, against live, in nats."""
    live_kl: float
    """KL of the candidate to live, in nats per sample of the candidate."""
    base_kl: float
    """The same to the base model."""
    anchor_kl: float
    """KL of the base model to the candidate, in nats per token of the anchors."""
    length_ratio: float
    """Mean length of the candidate's samples, over that of live's."""
    endless_rise: float
    """Share of samples that do not end, less live's."""
    empty_rise: float
    """Share of empty samples, less live's."""
    weights_finite: bool
    skill_gains: tuple[int, ...] = ()
    """Per skill probe: 1 where the candidate alone is right, -1 where live alone is, else 0."""
    base_skill_gains: tuple[int, ...] = ()
    """The same against the base model, since many small falls add up."""
    gain_weights: tuple[float, ...] = ()
    """How much each of `gains` counts; () counts all alike."""


@dataclass(frozen=True)
class Check:
    """One comparison. `limit` is text, for instance "<= 4"."""

    name: str
    value: float
    limit: str
    passed: bool


def checks_of(evidence: Evidence, limits: GateSettings) -> list[Check]:
    """Return every check of the gate."""
    at_most = (
        ("kl_to_live", evidence.live_kl, MAX_LIVE_KL),
        ("kl_to_base", evidence.base_kl, limits.max_base_kl),
        ("retention_kl", evidence.anchor_kl, limits.max_anchor_kl),
        ("endless_rise", evidence.endless_rise, MAX_ENDLESS_RISE),
        ("empty_rise", evidence.empty_rise, MAX_EMPTY_RISE),
    )
    checks = [Check("weights_finite", float(evidence.weights_finite), ">= 1", evidence.weights_finite)]
    checks += [Check(name, value, f"<= {limit:g}", value <= limit) for name, value, limit in at_most]
    low, high = 1.0 / limits.max_length_ratio, limits.max_length_ratio
    checks.append(
        Check("length_ratio", evidence.length_ratio, f"{low:.3g} .. {high:g}", low <= evidence.length_ratio <= high)
    )
    if len(evidence.gains) >= MIN_HELD_OUT:
        bound = upper_bound(evidence.gains, evidence.gain_weights)
        checks.append(Check("held_out_gain", bound, f">= {MIN_GAIN:g}", bound >= MIN_GAIN))
    for name, gains, limit in (
        ("skills_to_live", evidence.skill_gains, limits.max_skill_drop),
        ("skills_to_base", evidence.base_skill_gains, 2.0 * limits.max_skill_drop),
    ):
        if len(gains) >= MIN_PROBES:
            bound = upper_bound(gains)
            checks.append(Check(name, bound, f">= {-limit:g}", bound >= -limit))
    return checks


def report_of(checks: Sequence[Check]) -> dict[str, Any]:
    """Return the report that is kept with a version: `passed`, `checks`, and `reasons` as text, empty if it passed."""
    reasons = [f"{check.name} is {check.value:.4g}, wanted {check.limit}" for check in checks if not check.passed]
    return {"passed": bool(checks) and not reasons, "checks": [_plain(check) for check in checks], "reasons": reasons}


def upper_bound(values: Sequence[float], weights: Sequence[float] = ()) -> float:
    """Return the upper end of the mean's one-sided 95 % interval (normal); NaN if a value is.

    `weights` is as long as `values`; () weighs all alike. Kish's effective number (sum w)^2 / (sum w^2) is the sample
    size, so the interval is wide where few values hold most of the weight.
    """
    shares = [weight / sum(weights) for weight in weights] if weights else [1.0 / len(values)] * len(values)
    count = 1.0 / sum(share * share for share in shares)
    mean = sum(share * value for share, value in zip(shares, values, strict=True))
    variance = sum(share * (value - mean) ** 2 for share, value in zip(shares, values, strict=True)) * count
    return mean + Z95 * math.sqrt(variance / (max(count - 1.0, 1e-9) * count))


def _plain(check: Check) -> dict[str, Any]:
    """Return a check as JSON takes it: no NaN, no infinity."""
    return {**asdict(check), "value": check.value if math.isfinite(check.value) else str(check.value)}
