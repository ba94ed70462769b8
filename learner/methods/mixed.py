"""The gradient steps of one mixed update (dpo, kto and sft too): the plan's batches, watched by the guards."""

import logging
from collections.abc import Sequence

from learner.data.plan import Plan
from learner.methods.guards import LOOK_EVERY, Guards, check_finite
from learner.methods.mismatched_completions import MismatchedCompletions
from learner.methods.step_metrics import Meter, Progress, RunningMean, Trained
from learner.methods.steps import backward, mixed_settings, num_good, step_totals
from learner.model.anchors import Anchor, anchor_order, anchors_per_step
from learner.model.optimizer import Optimizer
from learner.model.reference import Reference
from learner.model.resident import Resident
from learner.settings import LearnerSettings

log = logging.getLogger(__name__)
Z0_DECAY = 0.5  # share of its old value that KTO's baseline keeps at each look


def train_mixed(
    resident: Resident,
    optimizer: Optimizer,
    plan: Plan,
    reference: Reference,
    *,
    anchors: Sequence[Anchor],
    guards: Guards,
    settings: LearnerSettings,
    progress: Progress,
) -> Trained:
    """Run the plan's steps on the resident weights, which are the live version's at the start.

    Raises Diverged when a loss or gradient is not finite; the weights are then of no use.
    """
    meter = Meter(progress, len(plan.batches))
    mixed, budget = mixed_settings(settings), settings.token_budget
    mismatched = MismatchedCompletions.of(resident, plan.trained, mixed, plan.seed, budget)
    order = anchor_order(len(anchors), anchors_per_step(settings.anchors), len(plan.batches), plan.seed)
    stopped, good = "", RunningMean()
    for number, batch in enumerate(plan.batches, 1):
        examples = [plan.trained[index] for index in batch]
        some = [anchors[index] for index in order[number - 1]]
        totals = step_totals(plan.trained, len(batch), sum(len(anchor.completion_ids) for anchor in some))
        loss, metrics = backward(resident, examples, some, reference, totals, mixed, budget, mismatched.baseline.z0)
        norm = optimizer.step()
        check_finite(f"step {number} of {len(plan.batches)}", loss, norm)
        metrics["gradient_norm"] = norm
        good.add(metrics.get("good/log_ratio", 0.0), num_good(examples))
        if number % LOOK_EVERY == 0 or number == len(plan.batches):
            mismatched.look(resident, budget, Z0_DECAY)
            seen, stopped = guards.look(good.taken())
            metrics |= seen | {"kto/z0": mismatched.baseline.z0}
        tokens = sum(example.num_tokens for example in examples) + sum(anchor.num_tokens for anchor in some)
        meter.step(loss, metrics, tokens)
        if stopped:
            log.info("stopped after step %d of %d: %s", number, len(plan.batches), stopped)
            break
    return meter.trained(stopped)
