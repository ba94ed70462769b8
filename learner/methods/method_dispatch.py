"""The method of an update: each algorithm, with what it trains on."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from learner.data.plan import Plan
from learner.errors import BadSetting, NothingToLearn
from learner.gate.evidence import Samples, gate_prompts
from learner.methods.guards import Guards
from learner.methods.ilql import train_ilql
from learner.methods.mixed import train_mixed
from learner.methods.on_policy import train_on_policy
from learner.methods.step_metrics import Progress, Trained
from learner.model.anchors import Anchor
from learner.model.optimizer import Optimizer
from learner.model.reference import Reference
from learner.model.resident import Resident, Weights
from learner.model.scoring import Ids
from learner.reward_model.calibration import calibration_of
from learner.reward_model.model import RewardModel
from learner.settings import ON_POLICY, LearnerSettings


@dataclass(frozen=True)
class MethodInputs:
    """What a method trains with, beside the resident weights; each method takes what it needs."""

    plan: Plan
    rewards: RewardModel | None
    """The reward model; None where there is not enough feedback for one."""
    live_weights: Weights
    samples: Samples
    anchors: Sequence[Anchor]
    """Those that may be trained on."""
    reference: Reference
    guards: Guards
    optimizer: Optimizer
    settings: LearnerSettings
    progress: Progress


def train_by_method(resident: Resident, inputs: MethodInputs) -> Trained:
    """Run the steps of the algorithm in force; return what they came to."""
    plan, settings = inputs.plan, inputs.settings
    if settings.algorithm in ON_POLICY:
        return _train_on_policy(resident, inputs)
    if settings.algorithm == "ilql":
        return train_ilql(
            resident,
            inputs.optimizer,
            inputs.guards,
            examples=plan.trained,
            samples=inputs.samples.live,
            anchors=inputs.anchors,
            settings=settings,
            seed=plan.seed,
            progress=inputs.progress,
        )
    return train_mixed(
        resident,
        inputs.optimizer,
        plan,
        inputs.reference,
        anchors=inputs.anchors,
        guards=inputs.guards,
        settings=settings,
        progress=inputs.progress,
    )


def _train_on_policy(resident: Resident, inputs: MethodInputs) -> Trained:
    """Raises NothingToLearn where there is no reward model."""
    plan, settings, rewards = inputs.plan, inputs.settings, inputs.rewards
    if rewards is None:
        needed = settings.reward_model.min_labels
        raise NothingToLearn(
            f"a reward model needs {needed} labels, and there are fewer; "
            "collect more feedback, or lower reward_model.min_labels"
        )
    trained = train_on_policy(
        resident,
        inputs.optimizer,
        inputs.guards,
        rewards,
        prompts=_rollout_prompts(resident, inputs),
        live_weights=inputs.live_weights,
        anchors=inputs.anchors,
        settings=settings,
        seed=plan.seed,
        progress=inputs.progress,
    )
    if plan.held_out:
        measured = asdict(calibration_of(rewards, resident, plan.held_out, settings.token_budget))
        trained.metrics |= {f"reward/held_out_{name}": value for name, value in measured.items() if value == value}
    return trained


def _rollout_prompts(resident: Resident, inputs: MethodInputs) -> Sequence[Ids]:
    """Return the prompts that rollouts are sampled for: those of the newest examples first, then those of anchors.

    Raises BadSetting where the context has room for none.
    """
    rollout, context = inputs.settings.rollout, resident.context_length
    newest_first = sorted(inputs.plan.trained, key=lambda example: -example.seq)
    prompts = gate_prompts(newest_first, inputs.anchors, 4 * rollout.prompts, context - rollout.max_tokens)
    if not prompts:
        reason = (
            f"rollout.max_tokens {rollout.max_tokens} leaves no prompt room in the model's context of {context} tokens"
        )
        raise BadSetting(f"{reason}; lower it")
    return prompts
