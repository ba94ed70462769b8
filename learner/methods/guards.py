"""The guards of an update: they stop it before the policy goes too far, and put the last good weights back."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from learner.data.plan import Plan
from learner.errors import Diverged
from learner.model import distributed
from learner.model.anchors import Anchor
from learner.model.drift import drift_per_completion
from learner.model.reference import Reference
from learner.model.resident import Resident
from learner.model.scoring import completion_sums
from learner.settings import LearnerSettings

MIN_GOOD_LOG_RATIO = -1.0  # nats per completion by which good completions may become less likely
LOOK_EVERY = 5  # steps between two looks of the guards
ONE_SIDED_95 = 1.645  # standard errors
MIN_HELD_OUT = 8  # fewer held-out examples cannot separate a fall from noise


class Guards:
    """Checks the policy while it is trained. On a violation the last weights within all limits are put back.

    `drift` holds completions that nothing is trained on, with the live version's distributions. Make the guards while
    the resident weights are the live version's.
    """

    def __init__(
        self, resident: Resident, plan: Plan, reference: Reference, drift: Sequence[Anchor], settings: LearnerSettings
    ) -> None:
        self._resident, self._drift, self._settings, self._reference = resident, drift, settings, reference
        ups = {example.up for example in plan.held_out if example.kind == "thumb"}
        # Thumbs of one side alone have no other side to be compared with.
        self._held_out = [example for example in plan.held_out if example.kind != "thumb" or len(ups) == 2]
        weights = torch.tensor([example.example_weight for example in self._held_out])
        # One rater's many examples are held out as they are trained on: capped.
        self._shares = weights / weights.sum()
        self._good = resident.weights()
        self._held_out_losses: list[Tensor] = []  # each (H,), by held-out example
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
        if len(self._held_out) >= MIN_HELD_OUT:
            seen |= self._fit_to_held_out()
        reason = distributed.the_first(self._violation(seen, good_log_ratio))  # all ranks stop, or none
        if reason:
            self._resident.put(self._good)
            if "held_out/loss" in seen:
                self._held_out_losses.pop()  # it belongs to weights that are gone
        else:
            self._good, self.moved = self._resident.weights(), True
        return seen, reason

    def _violation(self, seen: dict[str, float], good_log_ratio: float) -> str:
        kl = seen.get("guard/kl", 0.0)
        if not kl <= self._settings.max_kl:
            return f"KL to the live version {kl:.2f} > {self._settings.max_kl:g} nats per answer"
        if not good_log_ratio >= MIN_GOOD_LOG_RATIO:
            return f"good answers became less likely: {good_log_ratio:.2f} < {MIN_GOOD_LOG_RATIO:g} nats"
        losses = self._held_out_losses
        means = [float((self._shares * values).sum()) for values in losses[-3:]]
        if len(means) == 3 and means[0] < means[1] < means[2] and self._is_significant(losses[-1] - losses[-3]):
            return f"the loss on held-out feedback rose twice, to {means[-1]:.3f}"
        return ""

    def _is_significant(self, rise: Tensor) -> bool:
        """Whether the mean rise is more than chance gives one time in twenty: a dozen examples vary by themselves."""
        mean = (self._shares * rise).sum()
        error = (self._shares**2 * (rise - mean) ** 2).sum().sqrt()
        return bool(mean > ONE_SIDED_95 * error)

    def _fit_to_held_out(self) -> dict[str, float]:
        """Return how the policy fits the held-out examples, and keep their losses.

        A pair's margin is between its completions. A thumb's is from the middle of the two sides' means: else all
        completions of the live version becoming less likely would count against a policy that separates good from bad
        ever better.
        """
        completions = [(example.prompt_ids, side.ids) for example in self._held_out for side in example.completions]
        with self._resident.autocast():
            now = completion_sums(self._resident.model, completions, self._settings.token_budget)
        h = now - self._reference.sums(self._held_out)
        sides = [
            (index, up)
            for index, example in enumerate(self._held_out)
            for up, side in ((True, example.good), (False, example.bad))
            if side is not None
        ]
        of = torch.tensor([index for index, _ in sides], device=h.device)
        up = torch.tensor([up for _, up in sides], device=h.device)
        is_thumb = torch.tensor([self._held_out[index].kind == "thumb" for index, _ in sides], device=h.device)
        middle = (h[is_thumb & up].mean() + h[is_thumb & ~up].mean()) / 2 if is_thumb.any() else 0.0
        leads = torch.where(up, 1.0, -1.0) * (h - middle * is_thumb)
        margin = h.new_zeros(len(self._held_out)).index_add(0, of, leads)
        shares = self._shares.to(margin)
        losses = -torch.nn.functional.logsigmoid(self._settings.beta * margin)
        self._held_out_losses.append(losses.to(self._shares))
        return {
            "held_out/loss": (shares * losses).sum().item(),
            "held_out/accuracy": (shares * (margin > 0)).sum().item(),
            "held_out/margin": (shares * margin).sum().item(),
        }


def check_finite(step: str, loss: float, gradient_norm: float) -> None:
    """Raise Diverged unless the loss and the gradient norm of `step` ("step 3 of 60") are finite."""
    if not math.isfinite(loss) or not math.isfinite(gradient_norm):
        numbers = f"a loss of {loss} and a gradient norm of {gradient_norm}"
        raise Diverged(f"{step} gave {numbers}; live stays as it was")
