"""The method of an update: each algorithm, with what it trains on."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from learner.data.examples import Example
from learner.data.plan import Plan
from learner.errors import BadSetting
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
from learner.reward_model.training import trained_reward_model
from learner.settings import ON_POLICY, LearnerSettings


@dataclass(frozen=True)
class MethodInputs:
    """What a method trains with, beside the resident weights; each method takes what it needs."""

    plan: Plan
    ties: Sequence[Example]
    """Pairs of equally good completions, for a reward model."""
    live_weights: Weights
    samples: Samples
    anchors: Sequence[Anchor]
    """Those that may be trained on."""
    reference: Reference
    guards: Guards
    optimizer: Optimizer
    settings: LearnerSettings
    progress: Progress


def train_by_method(resident: Resident, inputs: MethodInputs) -> tuple[Trained, RewardModel | None]:
    """Run the steps of the algorithm in force; return what they came to, and a reward model if the method made one."""
    plan, settings = inputs.plan, inputs.settings
    if settings.algorithm in ON_POLICY:
        return _train_on_policy(resident, inputs)
    if settings.algorithm == "ilql":
        trained = train_ilql(
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
        return trained, None
    trained = train_mixed(
        resident,
        inputs.optimizer,
        plan,
        inputs.reference,
        anchors=inputs.anchors,
        guards=inputs.guards,
        settings=settings,
        progress=inputs.progress,
    )
    return trained, None


def _train_on_policy(resident: Resident, inputs: MethodInputs) -> tuple[Trained, RewardModel]:
    plan, settings = inputs.plan, inputs.settings
    rewards, metrics = _reward_model(resident, inputs)
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
    trained.metrics |= metrics
    return trained, rewards


def _reward_model(resident: Resident, inputs: MethodInputs) -> tuple[RewardModel, dict[str, float]]:
    """Return a reward model of the update's examples and ties, with its metrics on them and on held-out examples."""
    plan, settings = inputs.plan, inputs.settings
    rewards, metrics = trained_reward_model(
        resident,
        [*plan.trained, *inputs.ties],
        settings.reward_model,
        seed=plan.seed,
        token_budget=settings.token_budget,
    )
    metrics["reward/ties"] = float(len(inputs.ties))
    if plan.held_out:
        measured = asdict(calibration_of(rewards, resident, plan.held_out, settings.token_budget))
        metrics |= {f"reward/held_out_{name}": value for name, value in measured.items() if value == value}
    return rewards, metrics


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
