"""On-policy updates on a tiny model, with a reward that can be counted: it rises, by each method, where it should."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from learner.data.examples import CompletionTokens, Example
from learner.data.plan import Plan
from learner.errors import Diverged
from learner.methods.critic import Critic
from learner.methods.guards import Guards
from learner.methods.ilql import train_ilql
from learner.methods.logged_completions import logged_completions
from learner.methods.on_policy import GSPO_NOISE, train_on_policy
from learner.methods.rounds import Batch, sampled_batch
from learner.methods.step_metrics import Trained
from learner.methods.variants import VARIANTS
from learner.model.anchors import with_distributions
from learner.model.optimizer import Optimizer
from learner.model.reference import Reference
from learner.model.resident import Resident, Weights
from learner.model.rollouts import SAMPLER_LIMIT, sampler_logps
from learner.model.scoring import Row, padded, row_logps, row_of
from learner.reward_model.model import RewardModel
from learner.reward_model.training import trained_reward_model
from learner.settings import LearnerSettings
from tests.learner.reward_model.labeled import long_over_short

Build = Callable[..., LearnerSettings]
PROMPTS = [(1, 4, 30 + n, 2, 5) for n in range(6)]
SMALL = {
    "rollout.prompts": 6,
    "rollout.group_size": 8,
    "rollout.max_tokens": 8,
    "rollout.rounds": 8,
    "optimizer.learning_rate": 3e-3,
    "max_kl": 50,
}


def counts_low_ids(prompt: str, answer: str) -> float:
    """A reward that anybody can check: how many of the answer's characters are in the first half of the alphabet."""
    return 2.0 * sum("a" <= letter <= "m" for letter in answer.lower())


def parts(settings: LearnerSettings) -> tuple[Resident, Optimizer, Guards, RewardModel]:
    resident = Resident(settings)
    resident.become(None, 0)
    rewards, _ = trained_reward_model(
        resident, long_over_short(16), settings.reward_model, seed=0, token_budget=settings.token_budget
    )
    drift = with_distributions(resident.model, [(prompt, (50, 51, 2)) for prompt in PROMPTS])
    guards = Guards(resident, Plan((), (), (), 0), Reference(resident, 4096), drift, settings)
    optimizer = Optimizer(resident, learning_rate=resident.learning_rate, warmup_steps=0, clip_norm=1.0)
    return resident, optimizer, guards, rewards


def trained(settings: LearnerSettings, metric: str = "reward/mean") -> tuple[Resident, Trained, list[float]]:
    """Train on the policy; return a metric of each step too."""
    resident, optimizer, guards, rewards = parts(settings)
    seen: list[float] = []
    result = train_on_policy(
        resident,
        optimizer,
        guards,
        rewards,
        prompts=PROMPTS,
        live_weights=resident.weights(),
        anchors=[],
        settings=settings,
        seed=5,
        progress=lambda step, steps, loss, metrics: seen.append(metrics[metric]),
    )
    return resident, result, seen


def a_batch(resident: Resident, rewards: RewardModel, live_weights: Weights | None, settings: LearnerSettings) -> Batch:
    pessimism, budget = settings.reward_model.pessimism, settings.token_budget
    rollout = settings.rollout
    return sampled_batch(
        resident, rewards, None, PROMPTS, live_weights, rollout, pessimism=pessimism, budget=budget, seed=1
    )


def critic_of(resident: Resident, settings: LearnerSettings) -> Critic:
    return Critic(resident, steps=settings.rollout.minibatches, budget=settings.token_budget, seed=settings.seed)


@pytest.mark.parametrize("algorithm", ["grpo", "rloo", "ppo"])
def test_the_reward_rises(make_settings: Build, algorithm: str) -> None:
    settings = make_settings(
        algorithm=algorithm, reward_model__functions="tests.learner.methods.test_on_policy:counts_low_ids", **SMALL
    )
    _, result, means = trained(settings)
    assert result.steps == 16
    assert sum(means[-4:]) / 4 > sum(means[:2]) / 2 + 1.0, means
    assert result.metrics["tokens"] > 0


def test_the_same_seed_gives_the_same_weights(make_settings: Build) -> None:
    settings = make_settings(algorithm="grpo", **SMALL | {"rollout.rounds": 2})
    one, again = (trained(settings)[0].weights() for _ in range(2))
    assert all(torch.equal(weight, again[name]) for name, weight in one.items())


def test_a_loss_that_is_not_a_number_stops_it(make_settings: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.methods.on_policy.step_gradients", lambda *_, **__: (float("nan"), {}, 0))
    with pytest.raises(Diverged, match="round 1"):
        trained(make_settings(algorithm="rloo", **SMALL))


def test_a_guard_ends_the_rounds(make_settings: Build) -> None:
    settings = make_settings(
        algorithm="grpo",
        reward_model__functions="tests.learner.methods.test_on_policy:counts_low_ids",
        **SMALL | {"max_kl": 0.2},
    )
    _, result, _ = trained(settings)
    assert "KL to the live version" in result.stopped
    assert result.steps < 16


def test_a_batch_holds_what_was_sampled(make_settings: Build) -> None:
    settings = make_settings(algorithm="grpo", **SMALL)
    resident, _, _, rewards = parts(settings)
    batch = a_batch(resident, rewards, resident.weights(), settings)
    assert batch.mask.sum(1).tolist() == [len(rollout.ids) for rollout in batch.rollouts]
    assert torch.allclose(batch.old, batch.live, atol=1e-5)  # nothing has moved yet
    assert torch.allclose(batch.old, padded([torch.tensor(rollout.logps) for rollout in batch.rollouts]), atol=1e-4)
    assert batch.groups.tolist() == [group for group in range(6) for _ in range(8)]
    at_first = a_batch(resident, rewards, None, settings)
    assert torch.equal(at_first.live, at_first.old)
    noise = torch.Generator().manual_seed(1)
    moved = {
        name: weight + 0.3 * torch.randn(weight.shape, generator=noise) for name, weight in resident.weights().items()
    }
    later = a_batch(resident, rewards, moved, settings)
    assert torch.equal(later.old, at_first.old)
    assert ((later.live - later.old).abs() * later.mask).max() > 0.05


@pytest.mark.parametrize(
    ("off_by", "limit", "computed"),
    [
        (0.0, SAMPLER_LIMIT, 4),
        (2e-3, SAMPLER_LIMIT, 4),
        (2e-3, GSPO_NOISE, 4 + len(PROMPTS)),
        (0.01, SAMPLER_LIMIT, 4 + len(PROMPTS)),
        (float("nan"), SAMPLER_LIMIT, 4 + len(PROMPTS)),
    ],
)
def test_what_sampling_recorded_is_used_while_it_is_right(
    make_settings: Build, monkeypatch: pytest.MonkeyPatch, off_by: float, limit: float, computed: int
) -> None:
    settings = make_settings(algorithm="grpo", **SMALL)
    resident, *_ = parts(settings)
    rollouts = resident.sample([prompt for prompt in PROMPTS for _ in range(8)], max_tokens=8, seed=1)
    rows = [row_of(prompt, *(one.ids for one in rollouts[8 * k : 8 * k + 8])) for k, prompt in enumerate(PROMPTS)]
    right = row_logps(resident.model, rows, 4096)
    recorded = [replace(one, logps=tuple(logp + off_by for logp in one.logps)) for one in rollouts]
    seen: list[int] = []

    def counted(model: torch.nn.Module, some: Sequence[Row], budget: int) -> list[torch.Tensor]:
        seen.append(len(some))
        return row_logps(model, some, budget)

    monkeypatch.setattr("learner.model.rollouts.row_logps", counted)
    found = sampler_logps(resident.model, recorded, rows, 4096, 3, limit)
    assert sum(seen) == computed
    expected = right if computed > 4 else [torch.tensor(one.logps) for one in recorded]
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize(("variant", "noise"), [("dapo", SAMPLER_LIMIT), ("gspo", GSPO_NOISE)])
def test_gspo_whose_clip_is_narrow_takes_recorded_numbers_that_are_nearly_exact(
    make_settings: Build, monkeypatch: pytest.MonkeyPatch, variant: str, noise: float
) -> None:
    settings = make_settings(algorithm="grpo", **SMALL, **{"ppo.variant": variant})
    resident, optimizer, guards, rewards = parts(settings)

    def asked(*_: object, **named: object) -> Batch:
        raise LookupError(named["noise"])

    monkeypatch.setattr("learner.methods.on_policy.sampled_batch", asked)
    with pytest.raises(LookupError) as raised:
        train_on_policy(
            resident,
            optimizer,
            guards,
            rewards,
            prompts=PROMPTS,
            live_weights=resident.weights(),
            anchors=[],
            settings=settings,
            seed=5,
            progress=lambda *_: None,
        )
    assert raised.value.args == (noise,)


def test_the_critic_learns_what_completions_are_worth(make_settings: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_settings(algorithm="ppo", **SMALL)
    resident, _, _, rewards = parts(settings)
    batch = a_batch(resident, rewards, resident.weights(), settings)
    at_end = torch.zeros_like(batch.mask)
    lasts = batch.mask.sum(1).long() - 1
    at_end[torch.arange(len(lasts)), lasts] = 2.0  # every rollout is worth 2
    monkeypatch.setattr("learner.methods.critic.LEARNING_RATE", 1e-2)

    def surprise(warmup: int) -> float:
        monkeypatch.setattr("learner.methods.critic.WARMUP_STEPS", warmup)
        advantages, _ = critic_of(resident, settings).learn(batch, at_end)
        return float((advantages * batch.mask).abs().sum() / batch.mask.sum())

    assert surprise(0) > 0.5
    assert surprise(200) < 0.3  # in the first round already no surprise is left


@pytest.mark.parametrize("algorithm", ["grpo", "rloo", "ppo"])
def test_the_metrics_of_a_step_are_of_all_its_passes(make_settings: Build, algorithm: str) -> None:
    seen = []
    for budget in (64, 4096):
        settings = make_settings(algorithm=algorithm, token_budget=budget, **SMALL | {"rollout.rounds": 2})
        _, result, _ = trained(settings)
        seen.append({name: value for name, value in result.curve[1].items() if name.startswith(("policy/", "loss/"))})
    assert {"policy/ratio", f"loss/{algorithm}"} <= seen[0].keys()
    assert seen[0] == pytest.approx(seen[1], rel=1e-3, abs=1e-5)


def test_the_weight_of_the_kl_follows_its_target(make_settings: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.methods.on_policy.KL_HORIZON", 48.0)
    weights: dict[float, list[float]] = {}
    for target in (0.0, 1e-3, 1e3):
        settings = make_settings(algorithm="grpo", ppo__kl_target=target, **{**SMALL, "rollout.rounds": 4})
        _, _, seen = trained(settings, "rollout/kl_weight")
        weights[target] = seen[::2]  # two steps a round
    assert weights[0.0] == [0.04] * 4
    # the first round is the live version's own; then a round of 48 rollouts is the whole horizon: a fifth up, or down
    assert weights[1e-3] == pytest.approx([0.04, 0.04, 0.04 * 1.2, 0.04 * 1.44])
    assert weights[1e3] == pytest.approx([0.04, 0.04, 0.04 * 0.8, 0.04 * 0.64])


def test_cispo_learns_from_tokens_that_the_clip_drops(make_settings: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = {}
    tight = replace(VARIANTS["dapo"], clip_low=1e-6, clip_high=1e-6)
    for name, variant in (("clip", tight), ("cispo", VARIANTS["cispo"])):
        monkeypatch.setitem(VARIANTS, "dapo", variant)
        settings = make_settings(
            algorithm="grpo",
            ppo__kl_weight=0.0,
            reward_model__functions="tests.learner.methods.test_on_policy:counts_low_ids",
            **{**SMALL, "rollout.rounds": 2, "rollout.minibatches": 6},
        )
        moved[name] = trained(settings)[1].metrics
    assert moved["clip"]["policy/clip_share"] > 0.2
    assert moved["cispo"]["policy/clip_share"] < 0.05  # bounded at five times, which no token reached
    assert moved["cispo"]["policy/moved_kl"] > 2 * moved["clip"]["policy/moved_kl"]


def test_a_value_moves_no_further_than_its_clip(make_settings: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    learned = {}
    monkeypatch.setattr("learner.methods.critic.WARMUP_STEPS", 0)
    for clip in (math.inf, 0.1):
        monkeypatch.setattr("learner.methods.critic.VALUE_CLIP", clip)
        settings = make_settings(algorithm="ppo", **SMALL)
        resident, _, _, rewards = parts(settings)
        batch = a_batch(resident, rewards, resident.weights(), settings)
        critic = Critic(resident, steps=96, budget=settings.token_budget, seed=settings.seed)  # in the first round
        critic.learn(batch, batch.mask * 2.0)
        learned[clip] = (critic.head(critic.states(batch)) * batch.mask).max().item()
    assert learned[math.inf] > 1.5
    # Past the clip the loss has no gradient; momentum, and states that are not there yet, carry it some way on.
    assert learned[0.1] < 0.7


def pairs(count: int) -> list[Example]:
    """Completions that begin with 60 are liked, those that begin with 90 are not."""
    made = []
    for n in range(count):
        prompt = PROMPTS[n % len(PROMPTS)]
        made.append(
            Example(
                "pair",
                prompt,
                CompletionTokens((60, 61 + n % 3, 2)),
                CompletionTokens((90, 61 + n % 3, 2)),
                "ann",
                (f"p{n}",),
                n,
            )
        )
    return made


def test_rewards_lie_on_the_tokens_that_earned_them(make_settings: Build) -> None:
    resident = Resident(make_settings())
    corrected = Example(
        "correction", PROMPTS[0], CompletionTokens((60, 61, 62, 2)), CompletionTokens((60, 99, 62, 2)), "ann", ("e",), 1
    )
    up = Example("thumb", PROMPTS[1], CompletionTokens((60, 2)), None, "ann", ("t",), 2, share=0.5)
    found = [(one.ids, one.rewards) for one in logged_completions(resident, [corrected, up], 4096)]
    assert found == [
        ((60, 61, 62, 2), (0.0, 0.5, 0.0, 0.0)),
        ((60, 99, 62, 2), (0.0, 0.0, 0.0, -0.5)),
        ((60, 2), (0.0, 0.5)),
    ]


def test_q_learning_moves_the_policy_towards_what_was_liked(
    make_settings: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learner.methods.q_head_training.LEARNING_RATE", 3e-3)
    settings = make_settings(
        algorithm="ilql",
        ilql__steps=150,
        ilql__beta=4.0,
        steps=40,
        passes=50,
        optimizer__learning_rate=3e-3,
        max_kl=50,
        anchors__weight=0,
    )
    resident, optimizer, guards, _ = parts(settings)

    def leaning() -> float:
        with torch.no_grad():
            logits = resident.model(input_ids=torch.tensor(PROMPTS)).logits[:, -1]
        return float((logits[:, 60] - logits[:, 90]).mean())

    before, losses = leaning(), []
    result = train_ilql(
        resident,
        optimizer,
        guards,
        examples=pairs(24),
        samples=resident.sample(PROMPTS * 2, max_tokens=8, seed=1),
        anchors=[],
        settings=settings,
        seed=3,
        progress=lambda step, steps, loss, metrics: losses.append(loss),
    )
    assert result.steps == 190
    assert losses[149] < losses[0]  # the heads learned
    assert losses[-1] < losses[150]  # and the policy followed them
    assert leaning() > before + 0.3


def test_no_step_is_made_without_a_prompt(make_settings: Build) -> None:
    settings = make_settings(algorithm="grpo", **{**SMALL, "rollout.minibatches": 4, "rollout.rounds": 2})
    resident, optimizer, guards, rewards = parts(settings)
    result = train_on_policy(
        resident,
        optimizer,
        guards,
        rewards,
        prompts=PROMPTS[:3],
        live_weights=resident.weights(),
        anchors=[],
        settings=settings,
        seed=5,
        progress=lambda *_: None,
    )
    assert result.steps == 6  # three prompts a round, for two rounds
