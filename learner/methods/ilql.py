"""ILQL as an update: heads learn Q and V from logged completions; adapters then learn the policy that they shift to.

The policy is frozen while the heads learn (Snell et al. 2206.11871).
"""

import logging
from collections.abc import Sequence

from learner.data.examples import Example
from learner.methods.guards import LOOK_EVERY, Guards, check_finite
from learner.methods.logged_completions import logged_completions
from learner.methods.q_head_training import policy_head, shifted_distributions, trained_heads
from learner.methods.step_metrics import Meter, Progress, Trained
from learner.methods.steps import anchor_backward
from learner.model.anchors import Anchor, anchor_order, anchors_per_step
from learner.model.optimizer import Optimizer
from learner.model.resident import Resident
from learner.model.rollouts import Rollout
from learner.settings import LearnerSettings

log = logging.getLogger(__name__)


def train_ilql(
    resident: Resident,
    optimizer: Optimizer,
    guards: Guards,
    *,
    examples: Sequence[Example],
    samples: Sequence[Rollout],
    anchors: Sequence[Anchor],
    settings: LearnerSettings,
    seed: int,
    progress: Progress,
) -> Trained:
    """Train heads on the resident weights (the live version's), then distil the shifted policy into these weights.

    It is distilled on the logged completions and on `samples`, the live version's own. Raises Diverged, and CannotLearn
    where the model computes its logits in an unknown way.
    """
    budget, batch_size = settings.token_budget, 2 * settings.batch_size  # an example may have two completions
    completions = dict.fromkeys((rollout.prompt_ids, rollout.ids) for rollout in samples)
    completions |= dict.fromkeys((example.prompt_ids, side.ids) for example in examples for side in example.completions)
    steps = max(1, min(settings.steps, round(settings.passes * len(completions) / batch_size)))
    meter = Meter(progress, settings.ilql.steps + steps)
    logged = logged_completions(resident, examples, budget)
    head = policy_head(resident, logged[0], budget)
    heads = trained_heads(
        resident, logged, head, settings.ilql, batch_size=batch_size, budget=budget, seed=seed, meter=meter
    )
    goals = shifted_distributions(resident, heads, head, list(completions), beta=settings.ilql.beta, budget=budget)
    goal_order = anchor_order(len(goals), batch_size, steps, seed)
    order = anchor_order(len(anchors), anchors_per_step(settings.anchors), steps, seed + 1)
    stopped = ""
    for number in range(1, steps + 1):
        batch = [goals[index] for index in goal_order[number - 1]]
        some = [anchors[index] for index in order[number - 1]]
        loss, metrics = anchor_backward(resident, batch, 1.0, budget)
        anchor_loss, anchor_metrics = anchor_backward(resident, some, settings.anchors.weight, budget)
        norm = optimizer.step()
        check_finite(f"step {number}", loss + anchor_loss, norm)
        seen = {"ilql/distance": metrics["anchor/kl"], **anchor_metrics, "gradient_norm": norm}
        if number % LOOK_EVERY == 0 or number == steps:
            looked, stopped = guards.look()
            seen |= looked
        meter.step(loss + anchor_loss, seen, sum(goal.num_tokens for goal in [*batch, *some]))
        if stopped:
            log.info("stopped after step %d of %d: %s", number, steps, stopped)
            break
    return meter.trained(stopped)
