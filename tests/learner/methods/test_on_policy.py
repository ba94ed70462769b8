"""Learning from the policy's own replies, on a tiny model and a reward that can be counted: it rises, by each method,
and only where it should.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from learner.data.examples import CompletionTokens, Example
from learner.data.plan import Plan
from learner.errors import Diverged
from learner.methods.ilql import logged_replies, train_ilql
from learner.methods.guards import Guards
from learner.methods.meter import Trained
from learner.methods.on_policy import Critic, sampled_batch, train_on_policy
from learner.model.anchors import with_distributions
from learner.model.optimizer import Optimizer
from learner.model.reference import Reference
from learner.model.resident import Resident
from learner.model.rollouts import Rollout, sample_rollouts, sampler_logps
from learner.model.scoring import Row, padded, row_logps, row_of
from learner.reward_model.model import RewardModel
from learner.reward_model.training import trained_reward_model
from learner.settings import LearnerSettings
from policy.chat import end_ids
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
    "warmup_steps": 0,
}


def counts_low_ids(prompt: str, reply: str) -> float:
    """A reward that anybody can check: how many of the reply's characters are in the first half of the alphabet."""
    return 2.0 * sum("a" <= letter <= "m" for letter in reply.lower())


def parts(settings: LearnerSettings) -> tuple[Resident, Optimizer, Guards, RewardModel]:
    resident = Resident(settings)
    resident.become(None, 0)
    rewards, _ = trained_reward_model(
        resident, long_over_short(16), settings.reward_model, seed=0, token_budget=settings.token_budget
    )
    drift = with_distributions(resident.model, [(prompt, (50, 51, 2)) for prompt in PROMPTS])
    guards = Guards(resident, Plan((), (), (), 0), Reference(resident, 4096), drift, settings)
    optimizer = Optimizer(
        resident, learning_rate=resident.learning_rate, warmup_steps=settings.warmup_steps, clip_norm=1.0
    )
    return resident, optimizer, guards, rewards


def trained(settings: LearnerSettings) -> tuple[Resident, Trained, list[float]]:
    resident, optimizer, guards, rewards = parts(settings)
    told: list[float] = []
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
        progress=lambda step, steps, loss, metrics: told.append(metrics["reward/mean"]),
    )
    return resident, result, told


@pytest.mark.parametrize("algorithm", ["grpo", "rloo", "ppo"])
def test_the_reward_rises(make_settings: Build, algorithm: str) -> None:
    settings = make_settings(
        algorithm=algorithm, reward_model__functions="tests.learner.methods.test_on_policy:counts_low_ids", **SMALL
    )
    _, result, told = trained(settings)
    assert result.steps == 16
    assert sum(told[-4:]) / 4 > sum(told[:2]) / 2 + 1.0, told
    assert result.metrics["tokens"] > 0


def test_the_same_seed_gives_the_same_weights(make_settings: Build) -> None:
    settings = make_settings(algorithm="grpo", **SMALL | {"rollout.rounds": 2})
    one, again = (trained(settings)[0].weights() for _ in range(2))
    assert all(torch.equal(weight, again[name]) for name, weight in one.items())


def test_a_loss_that_is_not_a_number_stops_it(make_settings: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.methods.on_policy.step_gradients", lambda *_: (float("nan"), {}, 0))
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
    batch = sampled_batch(resident, rewards, None, PROMPTS, resident.weights(), settings, seed=1)
    assert batch.mask.sum(1).tolist() == [len(rollout.ids) for rollout in batch.rollouts]
    assert torch.allclose(batch.old, batch.live, atol=1e-5)  # nothing has moved yet
    assert torch.allclose(batch.old, padded([torch.tensor(rollout.logps) for rollout in batch.rollouts]), atol=1e-4)
    assert batch.groups.tolist() == [group for group in range(6) for _ in range(8)]
    at_first = sampled_batch(resident, rewards, None, PROMPTS, None, settings, seed=1)
    assert torch.equal(at_first.live, at_first.old)
    noise = torch.Generator().manual_seed(1)
    moved = {
        name: weight + 0.3 * torch.randn(weight.shape, generator=noise) for name, weight in resident.weights().items()
    }
    later = sampled_batch(resident, rewards, None, PROMPTS, moved, settings, seed=1)
    assert torch.equal(later.old, at_first.old)
    assert ((later.live - later.old).abs() * later.mask).max() > 0.05


@pytest.mark.parametrize(
    ("off_by", "computed"), [(0.0, 4), (1e-5, 4), (0.01, 4 + len(PROMPTS)), (float("nan"), 4 + len(PROMPTS))]
)
def test_what_sampling_recorded_is_used_while_it_is_right(
    make_settings: Build, monkeypatch: pytest.MonkeyPatch, off_by: float, computed: int
) -> None:
    settings = make_settings(algorithm="grpo", **SMALL)
    resident, *_ = parts(settings)
    replies = sample_rollouts(
        resident.model, [prompt for prompt in PROMPTS for _ in range(8)], end_ids=[2], max_tokens=8, seed=1
    )
    rows = [row_of(prompt, *(reply.ids for reply in replies[8 * k : 8 * k + 8])) for k, prompt in enumerate(PROMPTS)]
    right = row_logps(resident.model, rows, 4096)
    told = [replace(reply, logps=tuple(logp + off_by for logp in reply.logps)) for reply in replies]
    seen: list[int] = []

    def counted(model: torch.nn.Module, some: Sequence[Row], budget: int) -> list[torch.Tensor]:
        seen.append(len(some))
        return row_logps(model, some, budget)

    monkeypatch.setattr("learner.model.rollouts.row_logps", counted)
    found = sampler_logps(resident.model, told, rows, 4096, seed=3)
    assert sum(seen) == computed
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(found, right, strict=True))


def test_the_critic_learns_what_replies_are_worth(make_settings: Build) -> None:
    settings = make_settings(algorithm="ppo", value_rate=1e-2, **SMALL)
    resident, _, _, rewards = parts(settings)
    batch = sampled_batch(resident, rewards, None, PROMPTS, resident.weights(), settings, seed=1)
    at_end = torch.zeros_like(batch.mask)
    lasts = batch.mask.sum(1).long() - 1
    at_end[torch.arange(len(lasts)), lasts] = 2.0  # every reply is worth 2

    def surprise(warmup: int) -> float:
        critic = Critic(resident, settings.model_copy(update={"value_warmup": warmup}))
        advantages, _ = critic.learn(batch, at_end)
        return float((advantages * batch.mask).abs().sum() / batch.mask.sum())

    assert surprise(0) > 0.5
    assert surprise(200) < 0.3  # in the first round already no surprise is left


@pytest.mark.parametrize("algorithm", ["grpo", "rloo", "ppo"])
def test_what_is_told_of_a_step_is_of_all_its_passes(make_settings: Build, algorithm: str) -> None:
    told = []
    for budget in (64, 4096):
        settings = make_settings(algorithm=algorithm, token_budget=budget, **SMALL | {"rollout.rounds": 2})
        _, result, _ = trained(settings)
        told.append({name: value for name, value in result.curve[1].items() if name.startswith(("policy/", "loss/"))})
    assert {"policy/ratio", f"loss/{algorithm}"} <= told[0].keys()
    assert told[0] == pytest.approx(told[1], rel=1e-3, abs=1e-5)


def test_the_weight_of_the_kl_follows_its_target(make_settings: Build) -> None:
    weights: dict[float, list[float]] = {}
    for target in (0.0, 1e-3, 1e3):
        settings = make_settings(
            algorithm="grpo", ppo__kl_target=target, kl_horizon=48.0, **{**SMALL, "rollout.rounds": 4}
        )
        seen: list[float] = []
        resident, optimizer, guards, rewards = parts(settings)
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
            progress=lambda step, steps, loss, metrics, seen=seen: seen.append(metrics["rollout/kl_weight"]),
        )
        weights[target] = seen[::2]  # two steps a round
    assert weights[0.0] == [0.04] * 4
    # the first round is the live version's own; then a round of 48 replies is the whole horizon: a fifth up, or down
    assert weights[1e-3] == pytest.approx([0.04, 0.04, 0.04 * 1.2, 0.04 * 1.44])
    assert weights[1e3] == pytest.approx([0.04, 0.04, 0.04 * 0.8, 0.04 * 0.64])


def test_cispo_learns_from_tokens_that_the_clip_drops(make_settings: Build) -> None:
    moved = {}
    for kind in ("clip", "cispo"):
        settings = make_settings(
            algorithm="grpo",
            surrogate=kind,
            rollout_epochs=4,
            ppo__kl_weight=0.0,
            clip_high=1e-6,
            clip_low=1e-6,
            reward_model__functions="tests.learner.methods.test_on_policy:counts_low_ids",
            **{**SMALL, "rollout.rounds": 2},
        )
        moved[kind] = trained(settings)[1].metrics
    assert moved["clip"]["policy/clip_share"] > 0.2
    assert moved["cispo"]["policy/clip_share"] < 0.05  # bounded at five times, which no token reached
    assert moved["cispo"]["policy/moved_kl"] > 2 * moved["clip"]["policy/moved_kl"]


def test_a_value_moves_no_further_than_its_clip(make_settings: Build) -> None:
    learned = {}
    for clip in (0.0, 0.1):
        many = {"value_warmup": 0, "rollout_epochs": 16, "rollout_minibatches": 6}  # 96 steps in the first round
        settings = make_settings(algorithm="ppo", value_rate=1e-3, value_clip=clip, **many, **SMALL)
        resident, _, _, rewards = parts(settings)
        batch = sampled_batch(resident, rewards, None, PROMPTS, resident.weights(), settings, seed=1)
        critic = Critic(resident, settings)
        critic.learn(batch, batch.mask * 2.0)
        learned[clip] = (critic.head(critic._states(batch)) * batch.mask).max().item()
    assert learned[0.0] > 1.5
    assert (
        learned[0.1] < 0.7
    )  # past the clip the loss has no gradient; momentum and states that are not there yet carry it some way on


def judged(count: int) -> list[Example]:
    """Replies that begin with 60 are liked, those that begin with 90 are not."""
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
    edit = Example(
        "correction", PROMPTS[0], CompletionTokens((60, 61, 62, 2)), CompletionTokens((60, 99, 62, 2)), "ann", ("e",), 1
    )
    up = Example("thumb", PROMPTS[1], CompletionTokens((60, 2)), None, "ann", ("t",), 2, share=0.5)
    found = [(item.ids, item.rewards) for item in logged_replies(resident, [edit, up], resident.settings)]
    assert found == [
        ((60, 61, 62, 2), (0.0, 0.5, 0.0, 0.0)),
        ((60, 99, 62, 2), (0.0, 0.0, 0.0, -0.5)),
        ((60, 2), (0.0, 0.5)),
    ]


def test_q_learning_moves_the_policy_towards_what_was_liked(make_settings: Build) -> None:
    settings = make_settings(
        algorithm="ilql",
        ilql__steps=150,
        q_rate=3e-3,
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

    def replies() -> list[Rollout]:
        return sample_rollouts(resident.model, PROMPTS * 2, end_ids=end_ids(resident.tokenizer), max_tokens=8, seed=1)

    before, told = leaning(), []
    result = train_ilql(
        resident,
        optimizer,
        guards,
        examples=judged(24),
        samples=replies(),
        anchors=[],
        settings=settings,
        seed=3,
        progress=lambda step, steps, loss, metrics: told.append(loss),
    )
    assert result.steps == 190
    assert told[149] < told[0]  # the heads learned
    assert told[-1] < told[150]  # and the policy followed them
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
