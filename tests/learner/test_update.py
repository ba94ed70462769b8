"""One update on a tiny model: the same run gives the same weights; what should move does, and nothing else."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from learner.errors import Diverged
from learner.model.resident import Resident
from learner.settings import LearnerSettings
from learner.update import Updater
from learner.update_result import UpdateResult
from store.ids import now
from store.runs import Run
from tests.learner.world import World

Build = Callable[..., LearnerSettings]
FEW = {
    "rollout.rounds": 2,
    "rollout.prompts": 2,
    "rollout.group_size": 2,
    "rollout.max_tokens": 8,
    "reward_model.min_labels": 4,
    "ilql.steps": 2,
}


def run_of(settings: LearnerSettings, *, seed: int = 11, upto: int = 1000) -> Run:
    return Run("run-1", settings.algorithm, "running", {}, seed, 0, 8, 0, upto, now())


def updated(world: World, settings: LearnerSettings, **more: Any) -> tuple[Resident, UpdateResult]:
    resident = Resident(settings)
    run = run_of(settings, **more)
    result = Updater(resident, settings).update(
        world.material(resident, run), settings, lambda *_: None, parent=run.parent, seed=run.seed
    )
    return resident, result


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("algorithm", "tuning"),
    [("mixed", "lora"), ("mixed", "full"), ("dpo", "lora"), ("dpo", "full"), ("ppo", "lora"), ("ilql", "lora")],
)
def test_every_trainable_weight_moves_and_no_other(
    world: World, make_settings: Build, algorithm: str, tuning: str, dtype: str
) -> None:
    world.likes_short(10)
    settings = make_settings(
        algorithm=algorithm, tuning=tuning, dtype=dtype, optimizer__learning_rate=1e-3, max_kl=1e9, **FEW
    )
    resident = Resident(settings)
    resident.become(None, 11)
    before = {name: value.clone() for name, value in resident.model.state_dict().items()}
    run = run_of(settings)
    Updater(resident, settings).update(
        world.material(resident, run), settings, lambda *_: None, parent=run.parent, seed=run.seed
    )
    movable = {name for name, _ in resident.trainable()}
    assert {parameter.dtype for _, parameter in resident.trainable()} == {torch.float32}
    if tuning == "lora":
        assert resident.base.get_input_embeddings().weight.dtype == getattr(torch, dtype)
    still = [name for name, value in resident.model.state_dict().items() if torch.equal(value, before[name])]
    assert movable
    assert not movable & set(still)
    assert set(still) == set(before) - movable


def test_the_same_run_gives_the_same_weights_and_another_seed_others(world: World, make_settings: Build) -> None:
    world.likes_short(10)
    first, again, other = (updated(world, make_settings(), seed=seed)[0].weights() for seed in (11, 11, 12))
    assert all(torch.equal(weight, again[name]) for name, weight in first.items())
    assert any(not torch.equal(weight, other[name]) for name, weight in first.items())


def test_an_update_of_the_upper_layers_is_the_same_whatever_came_before(
    world: World, make_settings: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.likes_short(10)
    settings = make_settings(tune_layers=1)
    weights = updated(world, settings)[0].weights()
    resident = Resident(settings)
    assert resident.lower is not None
    updater, run = Updater(resident, settings), run_of(settings)
    for seed in (12, run.seed):
        updater.update(world.material(resident, run), settings, lambda *_: None, parent=0, seed=seed)
    again, _ = updated(world, settings)
    assert all(torch.equal(weight, weights[name]) for name, weight in again.weights().items())
    for name, weight in resident.weights().items():  # the reference keeps log-probabilities of other passes
        torch.testing.assert_close(weight, weights[name], rtol=0, atol=1e-5)
    monkeypatch.setattr("learner.model.resident.begin_at_layer", lambda *_: None)  # all layers in each pass
    whole, _ = updated(world, settings)
    assert whole.lower is None
    for name, weight in whole.weights().items():
        torch.testing.assert_close(weight, weights[name], rtol=0, atol=1e-4)
    assert any(not torch.equal(weight, weights[name]) for name, weight in whole.weights().items())


def test_the_update_follows_feedback_on_prompts_that_it_never_saw(world: World, make_settings: Build) -> None:
    world.likes_short(24)
    _, result = updated(world, make_settings(steps=20, gate__holdout=0.25, max_kl=20))
    assert len(result.plan.held_out) >= 4
    metrics = result.metrics
    assert metrics["pair/accuracy"] == 1.0
    gain = next(check for check in result.report["checks"] if check["name"] == "held_out_gain")
    assert gain["passed"]
    assert gain["value"] > 1.0


def test_what_is_measured_of_a_run_is_there(world: World, make_settings: Build) -> None:
    world.likes_short(10)
    _, result = updated(world, make_settings())
    metrics = result.metrics
    assert metrics["items/new"] == 10
    assert metrics["tokens"] > 0
    assert metrics["seconds"] > 0
    assert metrics["peak_memory_mb"] > 10
    assert len(result.trained.curve) == result.trained.steps
    assert all(math.isfinite(value) for entry in result.trained.curve for value in entry.values())


def test_a_step_that_is_not_finite_stops_the_update(
    world: World, make_settings: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.likes_short(10)
    monkeypatch.setattr("learner.methods.mixed.backward", lambda *_: (float("nan"), {}))
    with pytest.raises(Diverged, match="step 1 of"):
        updated(world, make_settings())


def test_a_guard_stops_before_the_policy_is_too_far_away(world: World, make_settings: Build) -> None:
    world.likes_short(16)
    _, result = updated(world, make_settings(steps=200, passes=100, optimizer__learning_rate=2e-3, max_kl=0.5))
    assert "KL to the live version" in result.trained.stopped
    assert 5 < result.trained.steps < 200
    assert result.trained.steps % 5 == 0
    kl = next(check for check in result.report["checks"] if check["name"] == "kl_to_live")
    assert kl["value"] < 2.0  # the last weights within the limit were put back


def test_an_update_of_which_the_guards_leave_nothing_fails(
    world: World, make_settings: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.likes_short(16)
    monkeypatch.setattr("learner.model.optimizer.WARMUP_STEPS", 0)
    settings = make_settings(optimizer__learning_rate=0.05, max_kl=0.05)
    resident = Resident(settings)
    resident.become(None, 11)
    live = resident.weights()
    run = run_of(settings)
    with pytest.raises(
        Diverged,
        match=r"no weights .* were within the limits \(KL to the live version .* lower optimizer.learning_rate",
    ):
        Updater(resident, settings).update(
            world.material(resident, run), settings, lambda *_: None, parent=run.parent, seed=run.seed
        )
    assert all(torch.equal(weight, live[name]) for name, weight in resident.weights().items())


@pytest.mark.parametrize("algorithm", ["dpo", "kto", "sft", "mixed"])
def test_good_completions_that_become_less_likely_end_an_update(
    world: World, make_settings: Build, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    world.likes_short(16)
    looks = iter([0.0, -0.9, -1.1])
    monkeypatch.setattr("learner.methods.mixed.RunningMean.taken", lambda _: next(looks))
    _, result = updated(world, make_settings(steps=40, passes=100, algorithm=algorithm))
    assert result.trained.stopped == "good answers became less likely: -1.10 < -1 nats"
    assert result.trained.steps == 15


def test_ties_reach_the_reward_model_and_nothing_else(
    world: World, make_settings: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.likes_short(16)
    prompt = (1, 4, 99, 2, 5)
    ties = [
        world.choice(world.completion(prompt, (70 + n, 2)), world.completion(prompt, (80 + n, 2)), "tie").id
        for n in range(3)
    ]
    small = {
        "rollout.rounds": 1,
        "rollout.prompts": 2,
        "rollout.group_size": 2,
        "rollout.max_tokens": 8,
    }
    monkeypatch.setattr("learner.reward_model.training.MAX_STEPS", 5)
    _, result = updated(world, make_settings(algorithm="grpo", **small))
    assert result.metrics["reward/ties"] == 3
    assert result.metrics["reward/labels"] == result.metrics["items/trained"] + 3
    assert set(ties) < set(result.feedback_ids)
    _, direct = updated(world, make_settings())
    assert direct.metrics["reward/ties"] == 3
    assert not set(ties) & set(direct.feedback_ids)  # the weights did not learn from the reward model
    assert not [example for example in result.plan.trained if example.prompt_ids == prompt]


def test_earlier_examples_are_seen_again(world: World, make_settings: Build) -> None:
    rows = world.likes_short(20)
    settings = make_settings(gate__holdout=0)
    resident = Resident(settings)
    middle = rows[9].seq
    run = Run("run-2", "mixed", "running", {}, 3, 0, 10, middle or 0, 1000, now())
    result = Updater(resident, settings).update(
        world.material(resident, run), settings, lambda *_: None, parent=run.parent, seed=run.seed
    )
    assert (result.metrics["items/new"], result.metrics["items/trained"]) == (10, 20)


def test_an_update_that_follows_no_feedback_fits_no_reward_model_unless_it_learns_from_it(
    world: World, make_settings: Build
) -> None:
    world.likes_short(10)
    for algorithm, is_fitted in (("dpo", False), ("grpo", True)):
        settings = make_settings(algorithm=algorithm, **FEW)
        resident, run = Resident(settings), run_of(settings)
        updater = Updater(resident, settings)
        updater.follows_feedback = False
        material = world.material(resident, run)
        result = updater.update(material, settings, lambda *_: None, parent=run.parent, seed=run.seed)
        assert (result.rewards is not None) == is_fitted
        assert ("reward/labels" in result.metrics) == is_fitted
