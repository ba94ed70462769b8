"""The named variants of the policy gradient: how each scales advantages, averages token losses and bounds ratios."""

from dataclasses import dataclass

from learner.algorithms.grpo import AdvantageScale
from learner.algorithms.reduction import Reduction
from learner.algorithms.surrogate import RatioLevel, SurrogateKind


@dataclass(frozen=True)
class Variant:
    """One variant. `clip_low` and `clip_high` bound the ratio to the sampling policy: 1 - low .. 1 + high, no unit."""

    advantage_scale: AdvantageScale  # what a group's advantages are divided by
    reduction: Reduction
    ratio_level: RatioLevel
    kind: SurrogateKind
    clip_low: float
    clip_high: float


CISPO_BOUND = 5.0
VARIANTS = {
    # Yu et al. 2503.14476: token mean, a higher upper bound. One deviation for the whole round: small groups vary.
    "dapo": Variant("batch", "dapo", "token", "clip", 0.2, 0.28),
    # Shao et al. 2402.03300
    "grpo": Variant("group", "grpo", "token", "clip", 0.2, 0.2),
    # Liu et al. 2503.20783: neither the deviation nor the length divides
    "dr_grpo": Variant("none", "dr_grpo", "token", "clip", 0.2, 0.2),
    # Zheng et al. 2507.18071: one ratio per rollout
    "gspo": Variant("group", "grpo", "sequence", "clip", 3e-4, 4e-4),
    # MiniMax 2506.13585: the weight is bounded, the gradient kept
    "cispo": Variant("batch", "dapo", "token", "cispo", 0.2, CISPO_BOUND),
}
