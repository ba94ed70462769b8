"""The fit to held-out feedback: its loss, accuracy and margin after each look, and whether the loss rises."""

from collections.abc import Sequence

import torch
from torch import Tensor

from learner.data.examples import Example
from learner.model.reference import Reference
from learner.model.resident import Resident
from learner.model.scoring import completion_sums
from learner.settings import LearnerSettings

MIN_HELD_OUT = 8  # fewer held-out examples cannot separate a fall from noise
ONE_SIDED_95 = 1.645  # standard errors


class HeldOutFeedback:
    """Held-out examples, with the loss of each example after each look."""

    def __init__(
        self, resident: Resident, examples: Sequence[Example], reference: Reference, settings: LearnerSettings
    ) -> None:
        self._resident, self._reference, self._settings = resident, reference, settings
        ups = {example.up for example in examples if example.kind == "thumb"}
        # Thumbs of one side alone have no other side to be compared with.
        self._examples = [example for example in examples if example.kind != "thumb" or len(ups) == 2]
        weights = torch.tensor([example.example_weight for example in self._examples])
        # One rater's many examples are held out as they are trained on: capped.
        self._shares = weights / weights.sum()
        self._losses: list[Tensor] = []  # each (H,), by held-out example

    def look(self) -> dict[str, float]:
        """Return how the policy fits the held-out examples, and keep their losses; nothing for too few examples.

        A pair's margin is between its completions. A thumb's is from the middle of the two sides' means: else all
        completions of the live version becoming less likely would count against a policy that separates good from bad
        ever better.
        """
        if len(self._examples) < MIN_HELD_OUT:
            return {}
        margin = self._margins()
        shares = self._shares.to(margin)
        losses = -torch.nn.functional.logsigmoid(self._settings.beta * margin)
        self._losses.append(losses.to(self._shares))
        return {
            "held_out/loss": (shares * losses).sum().item(),
            "held_out/accuracy": (shares * (margin > 0)).sum().item(),
            "held_out/margin": (shares * margin).sum().item(),
        }

    def forget_last_look(self) -> None:
        """Drop the losses of the last look, if any: its weights are gone."""
        if self._losses:
            self._losses.pop()

    def risen_loss(self) -> float | None:
        """Return the mean loss of the last look where it rose twice in a row, by more than chance; else None."""
        means = [float((self._shares * values).sum()) for values in self._losses[-3:]]
        has_risen = len(means) == 3 and means[0] < means[1] < means[2]
        return means[-1] if has_risen and self._is_significant(self._losses[-1] - self._losses[-3]) else None

    def _is_significant(self, rise: Tensor) -> bool:
        """Whether the mean rise is more than chance gives one time in twenty: a dozen examples vary by themselves."""
        mean = (self._shares * rise).sum()
        error = (self._shares**2 * (rise - mean) ** 2).sum().sqrt()
        return bool(mean > ONE_SIDED_95 * error)

    def _margins(self) -> Tensor:
        """Return each example's margin of log-ratios to the reference, (H,), nats."""
        completions = [(example.prompt_ids, side.ids) for example in self._examples for side in example.completions]
        with self._resident.autocast():
            now = completion_sums(self._resident.model, completions, self._settings.token_budget)
        h = now - self._reference.sums(self._examples)
        sides = [
            (index, up)
            for index, example in enumerate(self._examples)
            for up, side in ((True, example.good), (False, example.bad))
            if side is not None
        ]
        of = torch.tensor([index for index, _ in sides], device=h.device)
        up = torch.tensor([up for _, up in sides], device=h.device)
        is_thumb = torch.tensor([self._examples[index].kind == "thumb" for index, _ in sides], device=h.device)
        middle = (h[is_thumb & up].mean() + h[is_thumb & ~up].mean()) / 2 if is_thumb.any() else 0.0
        leads = torch.where(up, 1.0, -1.0) * (h - middle * is_thumb)
        return h.new_zeros(len(self._examples)).index_add(0, of, leads)
