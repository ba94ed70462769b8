"""Each hyperparameter that can be set reaches what it is for, and by default all is as the losses have it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from learner.algorithms.dpo import PairLengths, PairLogps
from learner.algorithms.ilql import FEEDBACK_REWARDS, QHeads
from learner.algorithms.kto import KlBaseline
from learner.algorithms.mixed import Corrections, MixedSettings, Pairs, Thumbs, Totals, mixed_loss
from learner.algorithms.surrogate import surrogate_loss
from learner.data.examples import ASKED_AGAIN, CompletionTokens, Example
from learner.data.plan import plan_of
from learner.data.weighting import Scales
from learner.methods.ilql import Logged, head_backward, rewards_of
from learner.methods.on_policy import Batch, Critic, _loss, sampled_batch
from learner.methods.kto_baseline import MismatchedCompletions
from learner.methods.steps import backward, mixed_settings, step_totals
from learner.model.features import completion_features
from learner.model.optimizer import Optimizer, optimizer_of
from learner.model.reference import Reference
from learner.model.resident import Resident
from learner.model.rollouts import Rollout
from learner.model.scoring import row_logps, row_of
from learner.reward_model.training import trained_reward_model
from learner.settings import LearnerSettings
from tests.learner.reward_model.labeled import long_over_short

Build = Callable[..., LearnerSettings]
POLICY = PairLogps(torch.tensor([-5.6, -7.0]), torch.tensor([-6.0, -2.0]))
REFERENCE = PairLogps(torch.tensor([-5.0, -6.0]), torch.tensor([-7.0, -2.5]))
LENGTHS = PairLengths(torch.tensor([3, 5]), torch.tensor([4, 2]))
ONES = torch.ones(2)
FEEDBACK: dict[str, Any] = {
    "pairs": Pairs(POLICY, REFERENCE, LENGTHS, 0.1 * ONES, ONES),
    "thumbs": Thumbs(POLICY.chosen, REFERENCE.chosen, LENGTHS.chosen, torch.tensor([True, False]), ONES),
    "corrections": Corrections(POLICY, REFERENCE, LENGTHS, torch.tensor([1.5, 0.5]), torch.tensor([2, 16]), ONES),
}


def losses(settings: LearnerSettings) -> dict[str, float]:
    """The mixed update's loss on each kind of feedback alone."""
    mixed = mixed_settings(settings)
    return {
        kind: mixed_loss(Totals(2.0, 2.0, 0.0), mixed, **{kind: value})[0].item() for kind, value in FEEDBACK.items()
    }


def test_by_default_all_is_as_the_losses_have_it() -> None:
    settings = LearnerSettings()
    assert mixed_settings(settings) == MixedSettings()
    assert Scales.of(settings) == Scales()
    logps = torch.tensor([[-1.0, -2.0]])
    plain, ours = (
        surrogate_loss(logps, 0.5 * logps, -torch.ones(1), logps < 0, **more)[0]
        for more in ({}, surrogate_settings(settings))
    )
    assert torch.equal(plain, ours)


@pytest.mark.parametrize(
    ("name", "value", "more", "moves"),
    [
        ("simpo_gamma", 0.4, {"pair_kind": "simpo"}, {"pairs", "corrections"}),
        ("dpop_penalty", 9.0, {"pair_kind": "dpop"}, {"pairs", "corrections"}),
        ("length_alpha", 0.2, {"pair_kind": "length_regularized"}, {"pairs", "corrections"}),
        ("thumb_scale", 1.0, {}, {"thumbs"}),
        ("thumb_up_weight", 1.5, {}, {"thumbs"}),
        ("thumb_down_weight", 1.5, {"thumb_kind": "apo_zero_unpaired"}, {"thumbs"}),
        ("edit_flip_rate", 0.2, {}, {"corrections"}),
        ("edit_full_tokens", 4.0, {}, {"corrections"}),
        ("edit_nll", 0.3, {}, {"corrections"}),
        ("edit_nll", 0.3, {"algorithm": "sft"}, {"corrections"}),
    ],
)
def test_factors_of_the_mixed_update(name: str, value: float, more: dict[str, Any], moves: set[str]) -> None:
    before, after = losses(LearnerSettings(**more)), losses(LearnerSettings(**more, **{name: value}))
    assert {kind for kind in FEEDBACK if before[kind] != pytest.approx(after[kind], rel=1e-3)} == moves


def test_what_a_correction_left_counts_as_it_is_told(make_settings: Build) -> None:
    resident = Resident(make_settings())
    resident.become(None, 0)
    edit = Example(
        "correction",
        (1, 4, 40, 2, 5),
        CompletionTokens((90, 91, 92, 2)),
        CompletionTokens((90, 93, 92, 2)),
        "ann",
        ("e",),
        9,
    )
    reference = Reference(resident, 4096)
    reference.learn([edit], 0, 0)

    def loss(**flags: float) -> float:
        mixed = mixed_settings(make_settings(nll_weight=0.0, anchors__weight=0.0, **flags))
        return backward(resident, [edit], [], reference, step_totals([edit], 1, 0), mixed, 4096, 0.0)[1][
            "loss/correction_nll"
        ]

    logps = row_logps(resident.model, [row_of(edit.prompt_ids, (90, 91, 92, 2))], 4096)[0]
    assert loss(edit_unchanged_weight=0.0) == pytest.approx(-logps[1].item(), rel=1e-4)
    assert loss(edit_unchanged_weight=1.0) == pytest.approx(-logps.mean().item(), rel=1e-4)
    assert loss() == pytest.approx(-(0.1 * logps.sum() + 0.9 * logps[1]).item() / 1.3, rel=1e-4)


def test_the_baseline_of_kto_keeps_as_much_as_it_is_told(make_settings: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [((1, 4, 20 + n), (50 + n, 2)) for n in range(8)]
    monkeypatch.setattr("learner.methods.kto_baseline.completion_sums", lambda *_: torch.full((8,), -1.0))
    resident = Resident(make_settings())
    for decay, expected in ((0.0, 3.0), (0.5, 1.5), (0.75, 0.75)):
        mismatched = MismatchedCompletions(rows, torch.full((8,), -4.0), KlBaseline())
        mismatched.look(resident, 4096, decay)
        assert mismatched.baseline.z0 == pytest.approx(expected)


def test_rewards_are_clipped_and_scores_centred_as_they_are_told(make_settings: Build) -> None:
    resident = Resident(make_settings())
    resident.become(None, 0)
    judged = long_over_short(16)
    features = completion_features(
        resident, [(example.prompt_ids, reply.ids) for example in judged for reply in example.completions], 4096
    )
    plain, centred = (
        trained_reward_model(resident, judged, make_settings(reward_centring=factor), seed=0)[0]
        for factor in (0.0, 10.0)
    )
    sums = [
        model.scores(features).view(model.heads.weight.size(0), -1, 2).sum(-1).abs().mean().item()
        for model in (plain, centred)
    ]
    assert sums[1] < 0.5 * sums[0]
    free, clipped = (plain.rewards(features, pessimism=0.0, limit=limit) for limit in (5.0, 0.5))
    assert free.abs().max() > 0.9
    assert torch.equal(clipped, free.clamp(-0.5, 0.5))
    settings = make_settings(
        algorithm="grpo",
        rollout__group_size=2,
        rollout__max_tokens=8,
        reward_clip=0.1,
        reward_model__pessimism=0.0,
        cut_off_penalty=0.0,
    )
    batch = sampled_batch(resident, plain, None, [(1, 4, 30, 2, 5)], None, settings, seed=1)
    assert batch.rewards.abs().max() <= 0.1 + 1e-6


def test_rewards_of_pairs_and_corrections_are_as_they_are_told() -> None:
    assert rewards_of(LearnerSettings()) == FEEDBACK_REWARDS
    told = rewards_of(LearnerSettings(q_pair_reward=0.7, q_edit_reward=0.9))
    assert told == {
        "thumb_up": 1.0,
        "thumb_down": -1.0,
        "pair_chosen": 0.7,
        "pair_rejected": -0.7,
        "corrected": 0.9,
        "original": -0.9,
    }


def test_sft_has_no_preference_terms_whatever_their_factors() -> None:
    mixed = mixed_settings(LearnerSettings(algorithm="sft", thumb_scale=5.0, edit_full_tokens=1.0))
    assert (mixed.thumb_scale, mixed.correction_full_tokens) == (0.0, float("inf"))


def said() -> list[Example]:
    """Every kind of feedback, mostly thumbs up, by six raters of whom one says most, on replies of an old version and
    the newest.
    """
    made = []
    for n in range(24):
        version, rater = n // 3 % 2 * 8, "loud" if n % 4 else f"rater{n}"
        reply, other = CompletionTokens((50 + n, 2), None, version), CompletionTokens((90, 91, 2), None, version)
        kind: Any = ("thumb", "pair", "correction", "thumb")[n // 2 % 4]
        good, bad = (reply, other) if kind != "thumb" else ((None, reply) if n in (0, 6, 14) else (reply, None))
        made.append(Example(kind, (1, 4, n), good, bad, rater, (f"f{n}",), n))
        if n in (6, 14):
            made[-1] = replace(made[-1], share=ASKED_AGAIN, is_implicit=True)
    return made


def shares(settings: LearnerSettings, of: Callable[[Example], bool]) -> float:
    """The share of all weight that some items have in an update from version 8."""
    plan = plan_of(said(), [], settings, seed=1, parent=8, trust={})
    return sum(example.example_weight for example in plan.trained if of(example)) / sum(
        example.example_weight for example in plan.trained
    )


@pytest.mark.parametrize(
    ("name", "value", "of", "rises"),
    [
        ("edit_weight", 3.0, lambda e: e.kind == "correction", True),
        ("pair_weight", 3.0, lambda e: e.kind == "pair", True),
        ("thumb_weight", 3.0, lambda e: e.kind == "thumb" and not e.is_implicit, True),
        ("implicit_weight", 0.5, lambda e: e.is_implicit, True),
        ("half_life", 2.0, lambda e: e.completions[0].version == 0, False),
        ("rater_cap", 1.0, lambda e: e.rater_id == "loud", True),
        ("side_ratio", 1.0, lambda e: e.kind == "thumb" and e.up, False),
    ],
)
def test_what_feedback_weighs(
    make_settings: Build, name: str, value: float, of: Callable[[Example], bool], rises: bool
) -> None:
    usual, other = (shares(make_settings(gate__holdout=0, **more), of) for more in ({}, {name: value}))
    assert usual > 0.0
    assert other > 1.1 * usual if rises else other < 0.9 * usual


def test_a_kind_without_weight_is_left_out(make_settings: Build) -> None:
    plan = plan_of(
        said(), [], make_settings(gate__holdout=0, corrections__weight=0, implicit_weight=0), seed=1, parent=8, trust={}
    )
    assert {(example.kind, example.is_implicit) for example in plan.trained} == {("pair", False), ("thumb", False)}


def test_the_optimiser_is_set_up_as_the_settings_say(make_settings: Build) -> None:
    def moved(**flags: Any) -> dict[str, float]:
        """How far each weight goes in two steps of the gradients 1 and 1e-3, by its mean."""
        settings = make_settings(lora_rank=2, optimizer__learning_rate=1e-2, warmup_steps=0, clip_norm=1e9, **flags)
        resident = Resident(settings)
        resident.become(None, 0)
        before, optimizer = resident.weights(), optimizer_of(resident, settings)
        for size in (1.0, 1e-3):
            for _, parameter in resident.trainable():
                parameter.grad = torch.full_like(parameter, size)
            optimizer.step()
        return {name: (weight - before[name]).abs().mean().item() for name, weight in resident.weights().items()}

    usual = moved()
    plain = Optimizer(Resident(make_settings(lora_rank=2)), learning_rate=1e-2, warmup_steps=0, clip_norm=1e9)
    assert {key: plain._adamw.defaults[key] for key in ("betas", "eps", "weight_decay")} == {
        "betas": (0.9, 0.95),
        "eps": 1e-8,
        "weight_decay": 0.0,
    }
    for flags in ({"adam_beta1": 0.1}, {"adam_beta2": 0.1}, {"adam_eps": 0.5}, {"weight_decay": 5.0}):
        other = moved(**flags)
        assert any(abs(distance - usual[name]) > 1e-2 * usual[name] for name, distance in other.items()), flags


def judged_loss(logps: list[float], advantage: float, **flags: Any) -> tuple[float, list[float]]:
    """The on-policy loss of one reply, sampled and live at -1 per token, and its gradient by token."""
    now = torch.tensor(logps, requires_grad=True)
    old, mask = -torch.ones(1, len(logps)), torch.ones(1, len(logps))
    rollout = Rollout((1,), (50,) * len(logps), (-1.0,) * len(logps), True)
    batch = Batch([rollout], torch.zeros(1, dtype=torch.long), mask, old, old, torch.zeros(1))
    settings = LearnerSettings(**flags)
    advantages = torch.full((1,) if settings.algorithm == "grpo" else (1, len(logps)), advantage)
    loss, _ = _loss(now, torch.tensor([len(logps)]), batch, advantages, [0], float(len(logps)), settings)
    (gradient,) = torch.autograd.grad(loss, now)
    return loss.item(), gradient.tolist()


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_a_dual_clip_bounds_how_hard_a_bad_token_is_pushed_down(algorithm: str) -> None:
    flags = {"algorithm": algorithm, "kl_weight": 0.0}
    free, free_gradient = judged_loss([1.0, -1.0], -1.0, **flags)  # the first token's ratio is e^2
    held, held_gradient = judged_loss([1.0, -1.0], -1.0, dual_clip=3.0, **flags)
    assert free == pytest.approx((7.389 + 1.0) / 2, rel=1e-3)
    assert held == pytest.approx((3.0 + 1.0) / 2)
    assert free_gradient[0] > 1.0
    assert held_gradient == pytest.approx([0.0, 0.5])


def test_grpo_estimates_its_kl_as_it_is_told() -> None:
    values = {
        kind: judged_loss([-0.5, -0.5], 0.0, algorithm="grpo", kl_weight=1.0, kl_kind=kind)[0]
        for kind in ("k2", "k3", "corrected_k3")
    }
    k3 = 2.718281828**-0.5 - 0.5  # e^-x + x - 1 at x = 0.5
    assert values == pytest.approx({"k2": 0.125, "k3": k3, "corrected_k3": k3 * 2.718281828**0.5})
    assert judged_loss([-0.5, -0.5], 0.0, algorithm="grpo", kl_weight=1.0)[0] == values["corrected_k3"]


def test_replies_that_were_cut_off_and_discounts_count_as_they_are_told(make_settings: Build) -> None:
    prompts = [(1, 4, 30 + n, 2, 5) for n in range(4)]
    batches = {}
    for penalty in (0.0, 1.0, 3.0):
        settings = make_settings(algorithm="ppo", rollout__group_size=2, rollout__max_tokens=8, cut_off_penalty=penalty)
        resident = Resident(settings)
        resident.become(None, 0)
        rewards, _ = trained_reward_model(
            resident, long_over_short(16), settings.reward_model, seed=0, token_budget=settings.token_budget
        )
        batches[penalty] = sampled_batch(resident, rewards, None, prompts, None, settings, seed=1)
    cut_off = torch.tensor([float(not rollout.is_finished) for rollout in batches[0.0].rollouts])
    assert cut_off.sum() > 0
    for penalty, batch in batches.items():
        torch.testing.assert_close(batches[0.0].rewards - batch.rewards, penalty * cut_off)
    batch = batches[1.0]
    at_end = torch.zeros_like(batch.mask)
    at_end[torch.arange(len(at_end)), batch.mask.sum(1).long() - 1] = 1.0
    plain, _ = Critic(resident, make_settings(value_warmup=0)).learn(batch, at_end)
    short, _ = Critic(resident, make_settings(value_warmup=0, gae_gamma=0.5)).learn(batch, at_end)
    long = int(batch.mask.sum(1).argmax())
    last = int(batch.mask[long].sum()) - 1
    assert plain[long, 0] == pytest.approx(
        0.95**last
    )  # values begin at 0, so an advantage is what is to come, by gamma times lambda
    assert short[long, 0] == pytest.approx((0.5 * 0.95) ** last)


def test_q_learning_discounts_as_it_is_told() -> None:
    embeddings = torch.randn(7, 4, generator=torch.Generator().manual_seed(1))
    heads = QHeads(embeddings, seed=0)
    torch.nn.init.ones_(list(heads.state_value.parameters())[-1])  # V is not 0, as if it had learned
    batch = [
        Logged((1,), (3, 4, 2), (0.0, 0.0, 1.0), 1.0, torch.randn(3, 4, generator=torch.Generator().manual_seed(2)))
    ]
    plain, none = (
        head_backward(heads, batch, 1.0, lambda states: states @ embeddings.T, LearnerSettings(q_gamma=gamma))[0]
        for gamma in (1.0, 0.0)
    )
    assert plain != pytest.approx(none, rel=1e-3)
