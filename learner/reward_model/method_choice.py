"""Which losses an update may learn by: on-policy ones need a reward model that knows more than length."""

from dataclasses import dataclass
from typing import Literal

from learner.reward_model.prequential import Accuracy

CHANCE = 0.5
MethodKind = Literal["direct", "on_policy"]


@dataclass(frozen=True)
class MethodChoice:
    """The kind of method at work, and why, as one sentence for people.

    `code` names the case for translations: no_pairs, at_chance, known, kept.
    """

    kind: MethodKind
    code: Literal["no_pairs", "at_chance", "known", "kept"]
    reason: str


def method_choice(equal_length: Accuracy, *, at_work: MethodKind = "direct") -> MethodChoice:
    """Return what an update should learn by, from the reward model's accuracy on pairs of equal length.

    `equal_length` is measured on the newest feedback before the model has seen it. On-policy methods begin once its
    lower 95 % bound is above chance. Once at work they stay until the accuracy itself falls to chance, so that the
    method does not change with every pair.
    """
    low, value, count = equal_length.low, equal_length.value, equal_length.count
    if low is None or value is None:
        reason = "Direct losses are at work: no choice between answers of equal length has tested the reward model yet."
        return MethodChoice("direct", "no_pairs", reason)
    seen = f"the reward model predicts {value:.0%} of {count} choices between answers of equal length"
    if low > CHANCE:
        return MethodChoice(
            "on_policy", "known", f"On-policy learning is at work: {seen}, at least {low:.0%} with 95 % confidence."
        )
    if at_work == "on_policy" and value > CHANCE:
        return MethodChoice("on_policy", "kept", f"On-policy learning stays at work: {seen}, still above half.")
    return MethodChoice(
        "direct", "at_chance", f"Direct losses are at work: {seen}, which may be chance (it could be {low:.0%})."
    )
