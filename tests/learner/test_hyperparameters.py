"""Each setting reaches what it is for; each constant has the effect that it names; defaults are those of the losses."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from learner.algorithms.dpo import PairLengths, PairLogps
from learner.algorithms.example_weights import KIND_WEIGHTS
from learner.algorithms.ilql import FEEDBACK_REWARDS, QHeads
from learner.algorithms.kto import KlBaseline
from learner.algorithms.mixed import Corrections, MixedSettings, Pairs, Thumbs, Totals, mixed_loss
from learner.algorithms.surrogate import surrogate_loss
from learner.data.examples import ASKED_AGAIN, CompletionTokens, Example
from learner.data.plan import plan_of
from learner.data.weighting import FLIP_RATE, Scales, with_example_weights
from learner.methods.critic import Critic
from learner.methods.logged_completions import LoggedCompletion, logged_completions
from learner.methods.mismatched_completions import MismatchedCompletions
from learner.methods.policy_gradient import Objective, policy_loss
from learner.methods.q_head_training import head_backward
from learner.methods.rounds import Batch, sampled_batch
from learner.methods.steps import backward, mixed_settings, step_totals
from learner.methods.variants import VARIANTS
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


def losses(mixed: MixedSettings) -> dict[str, float]:
    """The mixed update's loss on each kind of feedback alone."""
    return {
        kind: mixed_loss(Totals(2.0, 2.0, 0.0), mixed, **{kind: value})[0].item() for kind, value in FEEDBACK.items()
    }


def test_by_default_all_is_as_the_losses_have_it() -> None:
    settings = LearnerSettings()
    assert mixed_settings(settings) == MixedSettings()
    unpaired = mixed_settings(LearnerSettings.model_validate({"thumbs": {"loss": "apo_zero_unpaired"}}))
    assert unpaired == MixedSettings(thumb_kind="apo_zero_unpaired")
    assert Scales.of(settings) == Scales()
    variant = VARIANTS[settings.ppo.variant]
    ours: dict[str, Any] = {"eps_low": variant.clip_low, "eps_high": variant.clip_high}
    ours |= {"level": variant.ratio_level, "kind": variant.kind}
    logps = torch.tensor([[-1.0, -2.0]])
    plain, set_up = (surrogate_loss(logps, 0.5 * logps, -torch.ones(1), logps < 0, **more)[0] for more in ({}, ours))
    assert torch.equal(plain, set_up)


@pytest.mark.parametrize(
    ("name", "value", "more", "moves"),
    [
        ("gamma", 0.4, {"pairs": {"loss": "simpo"}}, {"pairs", "corrections"}),
        ("penalty", 9.0, {"pairs": {"loss": "dpop"}}, {"pairs", "corrections"}),
        ("length_alpha", 0.2, {"pairs": {"loss": "length_regularized"}}, {"pairs", "corrections"}),
        ("thumb_scale", 1.0, {}, {"thumbs"}),
        ("up_weight", 1.5, {}, {"thumbs"}),
        ("down_weight", 1.5, {"thumbs": {"loss": "apo_zero_unpaired"}}, {"thumbs"}),
        ("correction_flip_rate", 0.2, {}, {"corrections"}),
        ("correction_full_tokens", 4.0, {}, {"corrections"}),
        ("correction_nll", 0.3, {}, {"corrections"}),
        ("correction_nll", 0.3, {"algorithm": "sft"}, {"corrections"}),
    ],
)
def test_factors_of_the_mixed_update(name: str, value: float, more: dict[str, Any], moves: set[str]) -> None:
    usual = mixed_settings(LearnerSettings(**more))
    before, after = losses(usual), losses(replace(usual, **{name: value}))
    assert {kind for kind in FEEDBACK if before[kind] != pytest.approx(after[kind], rel=1e-3)} == moves


@pytest.mark.parametrize(
    ("more", "moves"),
    [
        ({"beta": 0.3}, {"pairs", "thumbs", "corrections"}),
        ({"nll_weight": 0.3}, {"pairs", "thumbs", "corrections"}),
        ({"pairs": {"loss": "ipo"}}, {"pairs", "corrections"}),
    ],
)
def test_settings_of_the_mixed_update(more: dict[str, Any], moves: set[str]) -> None:
    before, after = (losses(mixed_settings(LearnerSettings(**flags))) for flags in ({}, more))
    assert {kind for kind in FEEDBACK if before[kind] != pytest.approx(after[kind], rel=1e-3)} == moves


def test_what_a_correction_left_counts_by_its_weight(make_settings: Build) -> None:
    resident = Resident(make_settings())
    resident.become(None, 0)
    corrected = Example(
        "correction",
        (1, 4, 40, 2, 5),
        CompletionTokens((90, 91, 92, 2)),
        CompletionTokens((90, 93, 92, 2)),
        "ann",
        ("e",),
        9,
    )
    reference = Reference(resident, 4096)
    reference.learn([corrected], 0, 0)

    def loss(**factors: float) -> float:
        mixed = replace(mixed_settings(make_settings(nll_weight=0.0, anchors__weight=0.0)), **factors)
        totals = step_totals([corrected], 1, 0)
        return backward(resident, [corrected], [], reference, totals, mixed, 4096, 0.0)[1]["loss/correction_nll"]

    logps = row_logps(resident.model, [row_of(corrected.prompt_ids, (90, 91, 92, 2))], 4096)[0]
    assert loss(correction_unchanged_weight=0.0) == pytest.approx(-logps[1].item(), rel=1e-4)
    assert loss(correction_unchanged_weight=1.0) == pytest.approx(-logps.mean().item(), rel=1e-4)
    assert loss() == pytest.approx(-(0.1 * logps.sum() + 0.9 * logps[1]).item() / 1.3, rel=1e-4)


def test_the_baseline_of_kto_keeps_its_decay(make_settings: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [((1, 4, 20 + n), (50 + n, 2)) for n in range(8)]
    monkeypatch.setattr("learner.methods.mismatched_completions.completion_sums", lambda *_: torch.full((8,), -1.0))
    resident = Resident(make_settings())
    for decay, expected in ((0.0, 3.0), (0.5, 1.5), (0.75, 0.75)):
        mismatched = MismatchedCompletions(rows, torch.full((8,), -4.0), KlBaseline())
        mismatched.look(resident, 4096, decay)
        assert mismatched.baseline.z0 == pytest.approx(expected)


def test_rewards_are_clipped(make_settings: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    resident = Resident(make_settings())
    resident.become(None, 0)
    labeled = long_over_short(16)
    features = completion_features(
        resident, [(example.prompt_ids, side.ids) for example in labeled for side in example.completions], 4096
    )
    plain = trained_reward_model(resident, labeled, make_settings().reward_model, seed=0, token_budget=4096)[0]
    free, clipped = (plain.rewards(features, pessimism=0.0, limit=limit) for limit in (5.0, 0.5))
    assert free.abs().max() > 0.9
    assert torch.equal(clipped, free.clamp(-0.5, 0.5))
    monkeypatch.setattr("learner.methods.rounds.REWARD_CLIP", 0.1)
    monkeypatch.setattr("learner.methods.rounds.TRUNCATION_PENALTY", 0.0)
    rollout = make_settings(rollout__group_size=2, rollout__max_tokens=8).rollout
    batch = sampled_batch(resident, plain, None, [(1, 4, 30, 2, 5)], None, rollout, pessimism=0.0, budget=4096, seed=1)
    assert batch.rewards.abs().max() <= 0.1 + 1e-6


def test_rewards_of_pairs_and_corrections_are_those_of_the_table(
    make_settings: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = {
        "thumb_up": 1.0,
        "thumb_down": -1.0,
        "pair_chosen": 0.7,
        "pair_rejected": -0.7,
        "corrected": 0.9,
        "original": -0.9,
    }
    assert FEEDBACK_REWARDS.keys() == changed.keys()
    monkeypatch.setattr("learner.methods.logged_completions.FEEDBACK_REWARDS", changed)
    resident = Resident(make_settings())
    good, bad = CompletionTokens((60, 2)), CompletionTokens((61, 2))
    examples = [
        Example(kind, (1, 4, 30, 2, 5), *sides, "ann", (f"{kind}{number}",), number)
        for number, (kind, *sides) in enumerate(
            [("thumb", good, None), ("thumb", None, bad), ("pair", good, bad), ("correction", good, bad)]
        )
    ]
    assert [max(one.rewards, key=abs) for one in logged_completions(resident, examples, 4096)] == list(changed.values())


def test_sft_has_no_preference_terms_whatever_their_factors() -> None:
    mixed = mixed_settings(LearnerSettings(algorithm="sft", nll_weight=0.3))
    assert (mixed.thumb_scale, mixed.correction_full_tokens, mixed.nll) == (0.0, float("inf"), 1.0)
    assert mixed_settings(LearnerSettings(algorithm="sft", nll_weight=3.0)).nll == 3.0


def feedback() -> list[Example]:
    """Every kind of feedback, mostly thumbs up, on completions of an old version and the newest.

    It is by six raters, of whom one gives most.
    """
    made = []
    for n in range(24):
        version, rater = n // 3 % 2 * 8, "loud" if n % 4 else f"rater{n}"
        completion, other = CompletionTokens((50 + n, 2), None, version), CompletionTokens((90, 91, 2), None, version)
        kind: Any = ("thumb", "pair", "correction", "thumb")[n // 2 % 4]
        thumb = (None, completion) if n in (0, 6, 14) else (completion, None)
        good, bad = (completion, other) if kind != "thumb" else thumb
        made.append(Example(kind, (1, 4, n), good, bad, rater, (f"f{n}",), n))
        if n in (6, 14):
            made[-1] = replace(made[-1], share=ASKED_AGAIN, is_implicit=True)
    return made


def share_of(examples: list[Example], of: Callable[[Example], bool]) -> float:
    """The share of all weight that some examples have."""
    return sum(example.example_weight for example in examples if of(example)) / sum(
        example.example_weight for example in examples
    )


@pytest.mark.parametrize(
    ("name", "value", "of", "rises"),
    [
        ("corrections.weight", 3.0, lambda e: e.kind == "correction", True),
        ("pairs.weight", 3.0, lambda e: e.kind == "pair", True),
        ("thumbs.weight", 3.0, lambda e: e.kind == "thumb" and not e.is_implicit, True),
        ("trust.rater_cap", 1.0, lambda e: e.rater_id == "loud", True),
    ],
)
def test_what_feedback_weighs(
    make_settings: Build, name: str, value: float, of: Callable[[Example], bool], rises: bool
) -> None:
    usual, other = (
        share_of(
            list(plan_of(feedback(), [], make_settings(gate__holdout=0, **more), seed=1, parent=8, trust={}).trained),
            of,
        )
        for more in ({}, {name: value})
    )
    assert usual > 0.0
    assert other > 1.1 * usual if rises else other < 0.9 * usual


@pytest.mark.parametrize(
    ("more", "of", "rises"),
    [
        ({"kinds": {**Scales().kinds, "implicit": 0.5}}, lambda e: e.is_implicit, True),
        ({"half_life": 2.0}, lambda e: e.completions[0].version == 0, False),
        ({"side_ratio": 1.0}, lambda e: e.kind == "thumb" and e.up, False),
    ],
)
def test_what_the_scales_make_of_feedback(more: dict[str, Any], of: Callable[[Example], bool], rises: bool) -> None:
    usual, other = (
        share_of(with_example_weights(feedback(), parent=8, trust={}, default_flip_rate=FLIP_RATE, scales=scales), of)
        for scales in (Scales(), replace(Scales(), **more))
    )
    assert usual > 0.0
    assert other > 1.1 * usual if rises else other < 0.9 * usual


def test_a_kind_without_weight_is_left_out(make_settings: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KIND_WEIGHTS, "implicit", 0.0)
    settings = make_settings(gate__holdout=0, corrections__weight=0)
    plan = plan_of(feedback(), [], settings, seed=1, parent=8, trust={})
    assert {(example.kind, example.is_implicit) for example in plan.trained} == {("pair", False), ("thumb", False)}


def test_the_optimizer_is_set_up_by_its_constants_and_settings(
    make_settings: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(*, betas: tuple[float, float] = (0.9, 0.95), eps: float = 1e-8, **flags: Any) -> dict[str, float]:
        """How far each weight goes in two steps of the gradients 1 and 1e-3, by its mean."""
        settings = make_settings(lora_rank=2, optimizer__learning_rate=1e-2, **flags)
        resident = Resident(settings)
        resident.become(None, 0)
        before = resident.weights()
        optimizer = Optimizer(
            resident,
            learning_rate=resident.learning_rate,
            warmup_steps=0,
            clip_norm=1e9,
            betas=betas,
            eps=eps,
            weight_decay=settings.optimizer.weight_decay,
        )
        for size in (1.0, 1e-3):
            for _, parameter in resident.trainable():
                parameter.grad = torch.full_like(parameter, size)
            optimizer.step()
        return {name: (weight - before[name]).abs().mean().item() for name, weight in resident.weights().items()}

    usual = moved()
    monkeypatch.setattr("learner.model.optimizer.WARMUP_STEPS", 3)
    monkeypatch.setattr("learner.model.optimizer.CLIP_NORM", 7.0)
    resident = Resident(make_settings(lora_rank=2, optimizer__learning_rate=1e-2))
    for weight_decay in (0.0, 5.0):
        made = optimizer_of(resident, make_settings(optimizer__weight_decay=weight_decay).optimizer)
        assert {key: made._adamw.defaults[key] for key in ("lr", "betas", "eps", "weight_decay")} == {
            "lr": 1e-2,
            "betas": (0.9, 0.95),
            "eps": 1e-8,
            "weight_decay": weight_decay,
        }
        assert (made._warmup_steps, made._clip_norm) == (3, 7.0)
    for flags in ({"betas": (0.1, 0.95)}, {"betas": (0.9, 0.1)}, {"eps": 0.5}, {"optimizer__weight_decay": 5.0}):
        other = moved(**flags)
        assert any(abs(distance - usual[name]) > 1e-2 * usual[name] for name, distance in other.items()), flags


def loss_of(logps: list[float], advantage: float, algorithm: Any, kl_weight: float) -> tuple[float, list[float]]:
    """The on-policy loss of one rollout, sampled and live at -1 per token, and its gradient by token."""
    now = torch.tensor(logps, requires_grad=True)
    old, mask = -torch.ones(1, len(logps)), torch.ones(1, len(logps))
    rollout = Rollout((1,), (50,) * len(logps), (-1.0,) * len(logps), True)
    batch = Batch([rollout], torch.zeros(1, dtype=torch.long), mask, old, old, torch.zeros(1))
    objective = Objective(algorithm, VARIANTS["dapo"], kl_weight, max_tokens=8)
    advantages = torch.full((1,) if algorithm == "grpo" else (1, len(logps)), advantage)
    loss, _ = policy_loss(now, torch.tensor([len(logps)]), batch, advantages, [0], float(len(logps)), objective)
    (gradient,) = torch.autograd.grad(loss, now)
    return loss.item(), gradient.tolist()


def test_grpo_estimates_its_kl_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = loss_of([-0.5, -0.5], 0.0, "grpo", 1.0)[0]
    values = {}
    for kind in ("k2", "k3", "corrected_k3"):
        monkeypatch.setattr("learner.methods.policy_gradient.KL_KIND", kind)
        values[kind] = loss_of([-0.5, -0.5], 0.0, "grpo", 1.0)[0]
    k3 = 2.718281828**-0.5 - 0.5  # e^-x + x - 1 at x = 0.5
    assert values == pytest.approx({"k2": 0.125, "k3": k3, "corrected_k3": k3 * 2.718281828**0.5})
    assert usual == values["corrected_k3"]


def test_truncated_rollouts_and_discounts_count_by_their_constants(
    make_settings: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [(1, 4, 30 + n, 2, 5) for n in range(4)]
    settings = make_settings(algorithm="ppo", rollout__group_size=2, rollout__max_tokens=8)
    resident = Resident(settings)
    resident.become(None, 0)
    rewards, _ = trained_reward_model(
        resident, long_over_short(16), settings.reward_model, seed=0, token_budget=settings.token_budget
    )
    batches = {}
    for penalty in (0.0, 1.0, 3.0):
        monkeypatch.setattr("learner.methods.rounds.TRUNCATION_PENALTY", penalty)
        batches[penalty] = sampled_batch(
            resident, rewards, None, prompts, None, settings.rollout, pessimism=1.0, budget=4096, seed=1
        )
    cut_off = torch.tensor([float(not rollout.is_finished) for rollout in batches[0.0].rollouts])
    assert cut_off.sum() > 0
    for penalty, batch in batches.items():
        torch.testing.assert_close(batches[0.0].rewards - batch.rewards, penalty * cut_off)
    batch = batches[1.0]
    at_end = torch.zeros_like(batch.mask)
    at_end[torch.arange(len(at_end)), batch.mask.sum(1).long() - 1] = 1.0
    monkeypatch.setattr("learner.methods.critic.WARMUP_STEPS", 0)
    plain, _ = Critic(resident, steps=2, budget=4096, seed=0).learn(batch, at_end)
    monkeypatch.setattr("learner.methods.critic.GAMMA", 0.5)
    short, _ = Critic(resident, steps=2, budget=4096, seed=0).learn(batch, at_end)
    long = int(batch.mask.sum(1).argmax())
    last = int(batch.mask[long].sum()) - 1
    # Values begin at 0, so an advantage is what is to come, by gamma times lambda.
    assert plain[long, 0] == pytest.approx(0.95**last)
    assert short[long, 0] == pytest.approx((0.5 * 0.95) ** last)


def test_q_learning_discounts_by_gamma(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings = torch.randn(7, 4, generator=torch.Generator().manual_seed(1))
    heads = QHeads(embeddings, seed=0)
    torch.nn.init.ones_(list(heads.state_value.parameters())[-1])  # V is not 0, as if it had learned
    states = torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
    batch = [LoggedCompletion((1,), (3, 4, 2), (0.0, 0.0, 1.0), 1.0, states)]
    losses_by_gamma = []
    for gamma in (1.0, 0.0):
        monkeypatch.setattr("learner.methods.q_head_training.GAMMA", gamma)
        losses_by_gamma.append(
            head_backward(heads, batch, 1.0, lambda states: states @ embeddings.T, tau=0.5, budget=4096)[0]
        )
    assert losses_by_gamma[0] != pytest.approx(losses_by_gamma[1], rel=1e-3)
