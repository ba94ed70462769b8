"""One update: from examples to trained weights and the gate's report. The same run gives the same weights."""

from collections.abc import Callable, Mapping, Sequence

from learner.cost import Cost, reset_peak_memory
from learner.data.examples import Example
from learner.data.material import Material
from learner.data.plan import Plan, plan_of
from learner.errors import BadSetting, Diverged, NothingToLearn
from learner.gate.checks import checks_of, report_of
from learner.gate.evidence import Samples, evidence_of, gate_prompts, num_samples, samples_of
from learner.gate.skill_probes import ProbeAnswers, SkillProbe, probe_answers, read_skill_probes
from learner.methods.guards import Guards
from learner.methods.method_dispatch import MethodInputs, train_by_method
from learner.model import distributed
from learner.model.anchor_stock import AnchorStock
from learner.model.anchors import Anchor, anchor_count, with_distributions
from learner.model.optimizer import optimizer_of, optimizer_state_path
from learner.model.reference import Reference
from learner.model.resident import Resident
from learner.model.scoring import row_of
from learner.publish import version_folder
from learner.reward_model.keeper import RewardKeeper
from learner.reward_model.model import RewardModel
from learner.reward_model.trust import TrustEstimator, trust_in_force
from learner.settings import ON_POLICY, LearnerSettings
from learner.update_result import UpdateResult, metrics_of

RETENTION_STRIDE = 4  # every fourth anchor is never trained on: the gate measures retention by it
Phase = Callable[[str, int, int, float | None, dict[str, float]], None]
"""Called with the name of a phase, the step, the number of steps, the loss and the metrics."""


class Updater:
    """Makes updates on the resident model; keeps the anchors and the reference log-probabilities between them."""

    def __init__(self, resident: Resident, settings: LearnerSettings) -> None:
        """Raises BadSetting where answers may be as long as the model's context."""
        _check_lengths(settings, resident.context_length)
        self.resident, self.settings = resident, settings
        self.reference = Reference(resident, settings.token_budget)
        self.follows_feedback = True
        """Whether every update fits the reward model; else only one that learns from it does."""
        self._anchors: AnchorStock | None = None
        self.rewards = RewardKeeper(resident, settings, lambda: self.anchors().first(self.anchors().sufficient))
        self.estimator = TrustEstimator(self.rewards.features, settings.trust)
        self._probes: tuple[SkillProbe, ...] | None = None
        self._answers: dict[str, ProbeAnswers] = {}  # to the skill probes, by the weights' digest

    def anchors(self) -> AnchorStock:
        """Return the stock of anchors; the first call reads the cache."""
        if self._anchors is None:
            resident = self.resident
            count = anchor_count(self.settings.anchors, resident.num_parameters, is_small=resident.is_small)
            self._anchors = AnchorStock(self.resident, self.settings.data / "cache", count)
        return self._anchors

    def skill_probes(self) -> tuple[SkillProbe, ...]:
        """Return the skill probes in force; the first call reads them. Raises BadData."""
        if self._probes is None:
            self._probes = tuple(read_skill_probes(self.resident))
        return self._probes

    def samples(self, prompts: Sequence[tuple[int, ...]], seed: int) -> Samples:
        """Return the live version's completions of the gate's prompts, and what live and base answer to skill probes.

        The resident weights must be the live version's.
        """
        resident, probes = self.resident, self.skill_probes()
        live, base = resident.parent_digest, resident.base_digest
        if base not in self._answers:
            with resident.as_base():
                self._answers[base] = probe_answers(resident, probes)
        if live not in self._answers:
            self._answers[live] = probe_answers(resident, probes, self._answers[base])
        self._answers = {digest: self._answers[digest] for digest in (live, base)}
        rollouts = tuple(samples_of(resident, prompts, seed))
        return Samples(tuple(prompts), rollouts, seed, probes, self._answers[live], self._answers[base])

    def update(
        self,
        material: Material,
        settings: LearnerSettings,
        phase: Phase,
        *,
        parent: int,
        seed: int,
        rewards_from: int | None = None,
    ) -> UpdateResult:
        """Train the resident weights from version `parent` on (0 is the base model), and measure them for the gate.

        The reward model begins from the one with number `rewards_from`, or anew. Raises NothingToLearn; Diverged, also
        where the guards left nothing of the steps; and what policy raises for a parent's folder that is not what was
        published. The next update begins with its own parent's weights in any case.
        """
        resident = self.resident
        reset_peak_memory()
        cost = Cost(resident.sampler.cpu_seconds)
        stock = self.anchors()
        anchors = stock.first(
            settings.anchors.count or stock.goal, lambda made, count: phase("prepare", made, count, None, {})
        )
        phase("reference", 0, 0, None, {})
        estimates, trust = self._trust(material, settings)
        plan = plan_of(material.new, material.earlier, settings, seed=seed, parent=parent, trust=trust)
        retention = anchors[::RETENTION_STRIDE]
        rewards: RewardModel | None = None
        reward_metrics: dict[str, float] = {}
        if self.follows_feedback or settings.algorithm in ON_POLICY:
            rewards, reward_metrics = self.reward_model(material, trust, plan.held_out, rewards_from)
        # after the reward model, whose passes are more or fewer: what they left must not change the update's last bits
        resident.become(version_folder(settings.data, parent) if parent else None, seed)
        live_weights = resident.weights()
        resident.keep_lower([row_of(anchor.prompt_ids, anchor.completion_ids) for anchor in anchors])
        audit = self.reference.learn([*plan.trained, *plan.held_out], parent, seed)
        samples = self.samples(self._gate_prompts(plan, retention, settings), seed)
        optimizer = optimizer_of(resident, settings.optimizer)
        warm_start = optimizer.read(optimizer_state_path(settings.data, parent), resident.parent_digest)
        inputs = MethodInputs(
            plan=plan,
            rewards=rewards,
            live_weights=live_weights,
            samples=samples,
            anchors=[anchor for index, anchor in enumerate(anchors) if index % RETENTION_STRIDE],
            reference=self.reference,
            guards=self._guards(plan, samples, settings),
            optimizer=optimizer,
            settings=settings,
            progress=lambda *seen: phase("train", *seen),
        )
        trained = train_by_method(resident, inputs)
        if trained.stopped and not inputs.guards.moved:
            advice = "lower optimizer.learning_rate, or widen the limit"
            raise Diverged(f"no weights after the first steps were within the limits ({trained.stopped}); {advice}")
        phase("gate", trained.steps, len(plan.batches), None, {})
        evidence = evidence_of(resident, live_weights, parent, samples, plan.held_out, self.reference, retention)
        report = report_of(checks_of(evidence, settings.gate))
        phase("save", trained.steps, len(plan.batches), None, {})
        metrics = metrics_of(len(material.new), plan, trained, audit, warm_start=warm_start, trust=trust)
        metrics |= reward_metrics | cost.so_far()
        is_on_policy = settings.algorithm in ON_POLICY
        return UpdateResult(plan, trained, report, metrics, optimizer, rewards, estimates, is_on_policy)

    def reward_model(
        self,
        material: Material,
        trust: Mapping[str, float] | None = None,
        held_out: Sequence[Example] = (),
        begin: int | None = None,
    ) -> tuple[RewardModel | None, dict[str, float]]:
        """Return the reward model of all feedback in `material` but what is held out, and its metrics.

        It begins from the reward model with number `begin`, or anew; None where there is too little feedback. `trust`
        is by rater; without it, it is estimated.
        """
        if trust is None:
            trust = self._trust(material, self.settings)[1]
        everything = [*material.earlier, *material.new, *material.ties]
        try:
            return self.rewards.learn(everything, trust=trust, held_out=held_out, begin=begin)
        except NothingToLearn:
            return None, {}
        finally:
            if distributed.is_first():
                self.rewards.features.keep()

    def _trust(self, material: Material, settings: LearnerSettings) -> tuple[dict[str, float], dict[str, float]]:
        """Return the newest estimates of trust by rater, and the trust in force."""
        examples = [*material.earlier, *material.new]
        estimates = distributed.the_first(self.estimator.trust(examples))
        return estimates, trust_in_force(examples, estimates, material.trust, settings.trust)

    def _gate_prompts(
        self, plan: Plan, retention: Sequence[Anchor], settings: LearnerSettings
    ) -> tuple[tuple[int, ...], ...]:
        longest = self.resident.context_length - settings.gate.max_tokens
        count = num_samples(settings.gate, is_small=self.resident.is_small)
        return gate_prompts([*plan.held_out, *plan.trained], retention, count, longest)

    def _guards(self, plan: Plan, samples: Samples, settings: LearnerSettings) -> Guards:
        with self.resident.autocast():
            completions = [(rollout.prompt_ids, rollout.ids) for rollout in samples.live]
            drift = with_distributions(self.resident.model, completions)
        return Guards(self.resident, plan, self.reference, drift, settings)


def _check_lengths(settings: LearnerSettings, context: int) -> None:
    lengths = {"gate.max_tokens": settings.gate.max_tokens}
    if settings.algorithm in ON_POLICY:
        lengths["rollout.max_tokens"] = settings.rollout.max_tokens
    for name, length in lengths.items():
        if length >= context:
            shared = f"prompt and answer share the model's context of {context} tokens"
            raise BadSetting(f"{name} is {length}, but {shared}; lower it")
