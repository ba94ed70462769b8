"""The guards of an update: they stop it before the policy goes too far, and put the last good weights back."""

import math
from collections.abc import Sequence

from learner.data.plan import Plan
from learner.errors import Diverged
from learner.methods.held_out import HeldOutFeedback
from learner.model import distributed
from learner.model.anchors import Anchor
from learner.model.drift import drift_per_completion
from learner.model.reference import Reference
from learner.model.resident import Resident
from learner.settings import LearnerSettings

MIN_GOOD_LOG_RATIO = -1.0  # nats per completion by which good completions may become less likely
LOOK_EVERY = 5  # steps between two looks of the guards


class Guards:
    """Checks the policy while it is trained. On a violation the last weights within all limits are put back.

    `drift` holds completions that nothing is trained on, with the live version's distributions. Make the guards while
    the resident weights are the live version's.
    """

    def __init__(
        self, resident: Resident, plan: Plan, reference: Reference, drift: Sequence[Anchor], settings: LearnerSettings
    ) -> None:
        self._resident, self._drift, self._settings = resident, drift, settings
        self._held_out = HeldOutFeedback(resident, plan.held_out, reference, settings)
        self._good = resident.weights()
        self.moved = False
        """Whether any weights other than the live version's were within all limits."""

    def look(self, good_log_ratio: float = 0.0) -> tuple[dict[str, float], str]:
        """Return what is measured, and the reason to stop ("" for none).

        `good_log_ratio` is by how much good completions became likelier than under the live version, in nats per
        completion, in the steps since the last look.
        """
        seen: dict[str, float] = {}
        if self._drift:
            seen["guard/kl"] = drift_per_completion(self._resident, self._drift, self._settings.token_budget)
        seen |= self._held_out.look()
        reason = distributed.the_first(self._violation(seen, good_log_ratio))  # all ranks stop, or none
        if reason:
            self._resident.put(self._good)
            self._held_out.forget_last_look()
        else:
            self._good, self.moved = self._resident.weights(), True
        return seen, reason

    def _violation(self, seen: dict[str, float], good_log_ratio: float) -> str:
        kl = seen.get("guard/kl", 0.0)
        if not kl <= self._settings.max_kl:
            return f"KL to the live version {kl:.2f} > {self._settings.max_kl:g} nats per answer"
        if not good_log_ratio >= MIN_GOOD_LOG_RATIO:
            return f"good answers became less likely: {good_log_ratio:.2f} < {MIN_GOOD_LOG_RATIO:g} nats"
        risen = self._held_out.risen_loss()
        return f"the loss on held-out feedback rose twice, to {risen:.3f}" if risen is not None else ""


def check_finite(step: str, loss: float, gradient_norm: float) -> None:
    """Raise Diverged unless the loss and the gradient norm of `step` ("step 3 of 60") are finite."""
    if not math.isfinite(loss) or not math.isfinite(gradient_norm):
        numbers = f"a loss of {loss} and a gradient norm of {gradient_norm}"
        raise Diverged(f"{step} gave {numbers}; live stays as it was")
