"""One update, from a run's row to weights that the gate has judged. Repeatable: the same run on the same feedback gives
the same weights.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from learner.data.examples import Example
from learner.data.material import Material
from learner.data.plan import Plan, plan_of
from learner.data.weighting import FLIP_RATE, Scales, with_example_weights
from learner.errors import BadSetting, Diverged
from learner.gate.checks import checks_of, report_of
from learner.gate.evidence import Samples, evidence_of, gate_prompts, samples_of
from learner.gate.skill_probes import SkillProbe, read_skill_probes, right_answers
from learner.methods.ilql import train_ilql
from learner.methods.mixed import Cost, Guards, Progress, Trained, reset_peak_memory, train
from learner.methods.on_policy import train_on_policy
from learner.model import distributed
from learner.model.anchors import Anchor, anchor_count, base_anchors, with_distributions
from learner.model.optimizer import Optimizer, optimizer_of
from learner.model.reference import Audit, Reference
from learner.model.resident import Resident, Weights
from learner.publish import version_folder
from learner.reward_model.calibration import calibration_of
from learner.reward_model.model import RewardModel
from learner.reward_model.training import trained_reward_model
from learner.reward_model.trust import TrustEstimator, trust_in_force
from learner.settings import ON_POLICY, LearnerSettings
from store.runs import Run

log = logging.getLogger(__name__)
KEPT_SHARE = 4  # every fourth anchor is never trained on: it is what retention is measured by
Phase = Callable[[str, int, int, float | None, dict[str, float]], None]


@dataclass(frozen=True)
class Result:
    """A candidate: the resident weights, judged."""

    plan: Plan
    trained: Trained
    report: dict[str, Any]
    metrics: dict[str, Any]
    optimizer: Optimizer
    rewards: RewardModel | None
    trust: dict[str, float]
    """What this update estimated, of raters among the newest judgements."""
    ties: tuple[Example, ...] = ()
    """Those that the reward model learned from."""

    @property
    def feedback_ids(self) -> list[str]:
        """Rows that this update trained on or judged by."""
        return list(
            dict.fromkeys(
                row for example in (*self.plan.trained, *self.plan.held_out, *self.ties) for row in example.feedback_ids
            )
        )


@dataclass(frozen=True)
class Work:
    """Everything that a method needs for its steps on the resident weights."""

    plan: Plan
    ties: list[Example]
    live_weights: Weights
    samples: Samples
    anchors: list[Anchor]
    guards: Guards
    optimizer: Optimizer
    settings: LearnerSettings
    progress: Progress


class Updater:
    """Makes updates on the resident model; keeps what outlives one of them: the anchors and the known reference
    log-probabilities.
    """

    def __init__(self, resident: Resident, settings: LearnerSettings) -> None:
        """Raises BadSetting for replies that are to be longer than the model's context."""
        context = resident.context_length
        lengths = {"gate.max_tokens": settings.gate.max_tokens}
        if settings.algorithm in ON_POLICY:
            lengths["rollout.max_tokens"] = settings.rollout.max_tokens
        for name, length in lengths.items():
            if length >= context:
                shared = f"prompt and answer share the model's context of {context} tokens"
                raise BadSetting(f"{name} is {length}, but {shared}; lower it")
        self.resident, self.settings = resident, settings
        self.reference = Reference(resident, settings.token_budget)
        self.estimator = TrustEstimator(resident, settings.trust, settings.token_budget)
        self._anchors: list[Anchor] | None = None
        self._probes: tuple[SkillProbe, ...] | None = None
        self._right: dict[str, tuple[bool, ...]] = {}  # by version's digest: which probes it answers rightly

    def anchors(self) -> list[Anchor]:
        """Return the anchors, making them the first time."""
        if self._anchors is None:
            count = anchor_count(self.settings, self.resident.num_parameters)
            self._anchors = distributed.the_first(base_anchors(self.resident, self.settings.data / "cache", count))
        return self._anchors

    def probes(self) -> tuple[SkillProbe, ...]:
        """Return the probes in force, reading them the first time. Raises BadData."""
        if self._probes is None:
            self._probes = tuple(read_skill_probes(self.resident))
        return self._probes

    def samples(self, prompts: Sequence[tuple[int, ...]], seed: int) -> Samples:
        """Return what the resident weights, the live version's, say to the gate's prompts and probes, and what the base
        model knows of these.
        """
        resident, probes = self.resident, self.probes()
        live, base = resident.parent_digest, resident.base_digest
        if live not in self._right:
            self._right[live] = right_answers(resident, probes)
        if base not in self._right:
            with resident.as_base():
                self._right[base] = right_answers(resident, probes)
        self._right = {digest: self._right[digest] for digest in (live, base)}
        return Samples(
            tuple(prompts),
            tuple(samples_of(resident, prompts, seed)),
            seed,
            probes,
            self._right[live],
            self._right[base],
        )

    def update(self, run: Run, material: Material, settings: LearnerSettings, phase: Phase) -> Result:
        """Train the resident weights from the run's parent on, and judge them.

        Raises NothingToLearn, Diverged (also where the guards left nothing of the steps), or what policy raises for a
        parent's folder that is
        not what was published. Whatever happens, the next update begins by taking on its own parent's weights.
        """
        resident = self.resident
        reset_peak_memory()
        cost = Cost()
        phase("reference", 0, 0, None, {})
        said = [*material.earlier, *material.new]
        trust = distributed.the_first(self.estimator.trust(said))
        believed = trust_in_force(said, trust, material.trust, settings.trust)
        plan = plan_of(material.new, material.earlier, settings, seed=run.seed, parent=run.parent, trust=believed)
        anchors = self.anchors()
        kept, used = anchors[::KEPT_SHARE], [anchor for place, anchor in enumerate(anchors) if place % KEPT_SHARE]
        resident.become(version_folder(settings.data, run.parent) if run.parent else None, run.seed)
        live_weights = resident.weights()
        audit = self.reference.learn([*plan.trained, *plan.held_out], run.parent, run.seed)
        prompts = gate_prompts(
            [*plan.held_out, *plan.trained],
            kept,
            settings.gate.num_samples,
            resident.context_length - settings.gate.max_tokens,
        )
        samples = self.samples(prompts, run.seed)
        with resident.autocast():
            drift = with_distributions(resident.model, [(rollout.prompt_ids, rollout.ids) for rollout in samples.live])
        optimizer = optimizer_of(resident, settings)
        remembered = optimizer.read(optimizer_state_path(settings.data, run.parent), resident.parent_digest)
        guards = Guards(resident, plan, self.reference, drift, settings)
        ties = with_example_weights(
            material.ties,
            parent=run.parent,
            trust=believed,
            default_flip_rate=FLIP_RATE,
            scales=Scales.of(settings),
        )
        work = Work(
            plan,
            ties,
            live_weights,
            samples,
            used,
            guards,
            optimizer,
            settings,
            lambda *seen: phase("train", *seen),
        )
        trained, rewards = self._trained(work)
        if trained.stopped and not guards.moved:
            advice = "lower learning_rate, or widen the limit"
            raise Diverged(f"no weights after the first steps were within the limits ({trained.stopped}); {advice}")
        phase("gate", trained.steps, len(plan.batches), None, {})
        evidence = evidence_of(resident, live_weights, run.parent, samples, plan.held_out, self.reference, kept)
        report = report_of(checks_of(evidence, settings))
        phase("save", trained.steps, len(plan.batches), None, {})
        metrics = _metrics(material, plan, trained, audit, remembered, believed) | cost.so_far()
        return Result(
            plan, trained, report, metrics, optimizer, rewards, trust, tuple(ties) if rewards is not None else ()
        )

    def _trained(self, work: Work) -> tuple[Trained, RewardModel | None]:
        """Run the steps of the algorithm in force; return what they came to, and the reward model if one was made for
        them.
        """
        resident, plan, settings = self.resident, work.plan, work.settings
        if settings.algorithm == "ilql":
            trained = train_ilql(
                resident,
                work.optimizer,
                work.guards,
                examples=plan.trained,
                samples=work.samples.live,
                anchors=work.anchors,
                settings=settings,
                seed=plan.seed,
                progress=work.progress,
            )
            return trained, None
        if settings.algorithm not in ON_POLICY:
            trained = train(
                resident,
                work.optimizer,
                plan,
                self.reference,
                anchors=work.anchors,
                guards=work.guards,
                settings=settings,
                progress=work.progress,
            )
            return trained, None
        rewards, seen = trained_reward_model(
            resident,
            [*plan.trained, *work.ties],
            settings.reward_model,
            seed=plan.seed,
            token_budget=settings.token_budget,
        )
        seen["reward/ties"] = float(len(work.ties))
        if plan.held_out:
            measured = calibration_of(rewards, resident, plan.held_out, settings.token_budget)
            seen |= {f"reward/held_out_{name}": value for name, value in asdict(measured).items() if value == value}
        room = resident.context_length - settings.rollout.max_tokens
        newest_first = sorted(plan.trained, key=lambda example: -example.seq)
        prompts = gate_prompts(newest_first, work.anchors, 4 * settings.rollout.prompts, room)
        if not prompts:
            most = settings.rollout.max_tokens
            raise BadSetting(
                f"rollout_tokens {most} leaves no prompt room in the model's context of {room + most} tokens; lower it"
            )
        trained = train_on_policy(
            resident,
            work.optimizer,
            work.guards,
            rewards,
            prompts=prompts,
            live_weights=work.live_weights,
            anchors=work.anchors,
            settings=settings,
            seed=plan.seed,
            progress=work.progress,
        )
        trained.metrics |= seen
        return trained, rewards


def optimizer_state_path(data: Path, version: int) -> Path:
    """Return where the optimizer's memory of a version lies; losing it costs a warm-up."""
    return data / "cache" / "moments" / f"{version:06d}.safetensors"


def _metrics(
    material: Material, plan: Plan, trained: Trained, audit: Audit, remembered: bool, trust: dict[str, float]
) -> dict[str, Any]:
    kinds = {
        f"items/{kind}": sum(example.kind == kind for example in plan.trained)
        for kind in ("pair", "thumb", "correction")
    }
    sizes = {"items/new": len(material.new), "items/trained": len(plan.trained), "items/held_out": len(plan.held_out)}
    alone = {
        f"train_{name}": trained.metrics[name] for name in ("seconds", "cpu_seconds")
    }  # without reference, reward model and gate
    ran = {"steps": trained.steps, "stopped": trained.stopped, "warm_start": remembered}
    reference = {
        "reference/checked": audit.checked,
        "reference/difference": audit.mean_difference,
        "reference/recorded": audit.trusted,
    }
    return {
        **trained.metrics,
        **alone,
        **kinds,
        **sizes,
        **ran,
        **reference,
        "raters": rater_shares(plan.trained, trust),
    }


def rater_shares(trained: Sequence[Example], trust: dict[str, float]) -> dict[str, dict[str, float | int | None]]:
    """Return by rater what an update made of their word: how many items, their share of all weight, and the trust they
    were given (None: default).
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
