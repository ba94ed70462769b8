"""What an update comes to: a candidate in the resident weights, the gate's report on it, and the run's metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from learner.data.examples import Example
from learner.data.plan import Plan
from learner.methods.step_metrics import Trained
from learner.model.optimizer import Optimizer
from learner.model.reference import Audit
from learner.reward_model.model import RewardModel

KINDS = ("pair", "thumb", "correction")


@dataclass(frozen=True)
class UpdateResult:
    """A candidate, the resident weights, with everything that is recorded of it."""

    plan: Plan
    trained: Trained
    report: dict[str, Any]
    """The gate's report: `passed`, `checks`, `reasons`."""
    metrics: dict[str, Any]
    """The run's metrics, without the curve."""
    optimizer: Optimizer
    rewards: RewardModel | None
    """The reward model as the update left it; None where there is not enough feedback for one."""
    trust: dict[str, float]
    """By rater, as this update estimated it from the newest feedback."""
    is_on_policy: bool = False
    """Whether the weights learned from the reward model, and so from all that it learned from."""

    @property
    def feedback_ids(self) -> list[str]:
        """Feedback rows that this update was trained on or measured by."""
        rows = [row for example in (*self.plan.trained, *self.plan.held_out) for row in example.feedback_ids]
        if self.is_on_policy and self.rewards is not None:
            rows += self.rewards.feedback_ids
        return list(dict.fromkeys(rows))


def metrics_of(
    num_new: int, plan: Plan, trained: Trained, audit: Audit, *, warm_start: bool, trust: Mapping[str, float]
) -> dict[str, Any]:
    """Return a run's metrics. `trust` is by rater; `warm_start`: the optimizer began with the parent's state."""
    kinds = {f"items/{kind}": sum(example.kind == kind for example in plan.trained) for kind in KINDS}
    return {
        **trained.metrics,
        # The steps alone, without the reference, the reward model and the gate.
        "train_seconds": trained.metrics["seconds"],
        "train_cpu_seconds": trained.metrics["cpu_seconds"],
        **kinds,
        "items/new": num_new,
        "items/trained": len(plan.trained),
        "items/held_out": len(plan.held_out),
        "steps": trained.steps,
        "stopped": trained.stopped,
        "warm_start": warm_start,
        "reference/checked": audit.checked,
        "reference/difference": audit.mean_difference,
        "reference/recorded": audit.trusted,
        "raters": rater_shares(plan.trained, trust),
    }


def rater_shares(trained: Sequence[Example], trust: Mapping[str, float]) -> dict[str, dict[str, float | int | None]]:
    """Return by rater: the number of examples, their share of all example weights, and the trust in the rater.

    The trust is None where it was never estimated.
    """
    whole = sum(example.example_weight for example in trained)
    found: dict[str, dict[str, float | int | None]] = {}
    for rater in dict.fromkeys(example.rater_id for example in trained):
        theirs = [example.example_weight for example in trained if example.rater_id == rater]
        estimate = trust.get(rater)
        found[rater] = {
            "items": len(theirs),
            "share": round(sum(theirs) / whole, 4),
            "trust": None if estimate is None else round(estimate, 4),
        }
    return found
