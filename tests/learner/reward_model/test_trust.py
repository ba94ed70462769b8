"""Raters who work against the others are found, and do not steer an update."""

import random
from collections.abc import Callable

import pytest

from learner.data.examples import CompletionTokens, Example
from learner.model.resident import Resident
from learner.model.scoring import completion_sums
from learner.reward_model.trust import trust_in_force
from learner.settings import LearnerSettings
from learner.update import Updater
from learner.update_result import UpdateResult
from store.database import transaction
from store.distrust import set_trust
from store.ids import now
from store.raters import set_quarantine
from store.runs import Run
from tests.learner.world import END, World

Build = Callable[..., LearnerSettings]
RELIABLE = [f"reliable-{number}" for number in range(8)]
COLLUDERS = ["colluder-0", "colluder-1"]  # 20 % of the people


def crowd(world: World, *, reliable_rows: int = 5, collusive_rows: int = 10) -> None:
    """Eight people prefer short completions. Two prefer long ones, twice as often. None is rated twice."""
    rng = random.Random(3)
    raters = [name for name in RELIABLE for _ in range(reliable_rows)]
    raters += [name for name in COLLUDERS for _ in range(collusive_rows)]
    rng.shuffle(raters)
    for number, name in enumerate(raters):
        prompt = (1, 4, 10 + number % 200, 11 + number // 200, 2, 5)
        short = world.completion(prompt, (50 + number % 40, END), rater=name)
        long = world.completion(
            prompt, (60, 61 + number % 30, *(62 + rng.randrange(6) for _ in range(4)), END), rater=name
        )
        world.choice(long, short, "A" if name in COLLUDERS else "B", rater=name)


def update(world: World, settings: LearnerSettings, resident: Resident | None = None) -> UpdateResult:
    resident = resident or Resident(settings)
    run = Run("run-1", settings.algorithm, "running", {}, 11, 0, 60, 0, 10_000, now())
    return Updater(resident, settings).update(
        world.material(resident, run), settings, lambda *_: None, parent=run.parent, seed=run.seed
    )


def preference(resident: Resident) -> float:
    """By how much the resident weights lean to short completions of prompts that nobody rated, in nats."""
    unseen = [
        ((1, 4, 230, 10 + number, 2, 5), ((51 + number, END), (60, 61, 62, 63, 64, 65, END))) for number in range(16)
    ]
    completions = [(prompt, side) for prompt, both in unseen for side in both]
    sums = completion_sums(resident.model, completions, 4096)
    with resident.as_base():
        moved = sums - completion_sums(resident.model, completions, 4096)
    return float((moved[0::2] - moved[1::2]).mean())


def test_a_fifth_of_colluders_is_found_though_nobody_rated_the_same_completion(
    world: World, make_settings: Build
) -> None:
    crowd(world)
    result = update(world, make_settings())
    assert set(result.trust) == {*RELIABLE, *COLLUDERS}
    assert min(result.trust[name] for name in RELIABLE) > 0.8
    assert max(result.trust[name] for name in COLLUDERS) < 0.5


def test_colluders_do_not_steer_the_update(world: World, make_settings: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.methods.guards.MIN_GOOD_LOG_RATIO", -100)
    crowd(world)
    more = {
        "gate.holdout": 0,
        "steps": 40,
        "passes": 6,
        "max_kl": 50,
        "anchors.weight": 0,
    }
    alike, estimating = Resident(make_settings(trust__feedback=0, **more)), Resident(make_settings(**more))
    without, with_trust = (update(world, resident.settings, resident) for resident in (alike, estimating))
    assert sum(without.metrics["raters"][name]["share"] for name in COLLUDERS) > 0.25
    assert sum(with_trust.metrics["raters"][name]["share"] for name in COLLUDERS) < 0.03
    assert preference(estimating) > 1.0
    assert preference(alike) < 0.0  # trusting all alike, they would


def test_the_influence_of_each_rater_is_recorded(world: World, make_settings: Build) -> None:
    crowd(world)
    raters = update(world, make_settings(gate__holdout=0)).metrics["raters"]
    assert set(raters) == {*RELIABLE, *COLLUDERS}
    assert sum(entry["share"] for entry in raters.values()) == pytest.approx(1.0, abs=1e-2)
    assert all(entry["items"] in (5, 10) for entry in raters.values())


def test_a_rater_in_quarantine_has_no_influence(world: World, make_settings: Build) -> None:
    crowd(world)
    with transaction(world.db):
        for name in COLLUDERS:
            set_quarantine(world.db, name, "they work together")
    result = update(world, make_settings(gate__holdout=0))
    assert not set(COLLUDERS) & {*result.trust, *result.metrics["raters"]}
    assert not {example.rater_id for example in result.plan.trained} & set(COLLUDERS)


def test_two_raters_are_too_few_to_estimate_trust(world: World, make_settings: Build) -> None:
    world.likes_short(6)
    assert update(world, make_settings(gate__holdout=0)).trust == {}


def test_the_last_estimate_holds_when_a_rater_has_left_the_newest_feedback(world: World, make_settings: Build) -> None:
    for number, name in enumerate(["caught", "stranger"] * 4 + RELIABLE * 3):
        prompt = (1, 4, 10 + number, 11, 2, 5)
        world.choice(
            world.completion(prompt, (50, END), rater=name),
            world.completion(prompt, (60, 61, 62, END), rater=name),
            "A",
            rater=name,
        )
    with transaction(world.db):
        set_trust(world.db, {"caught": 0.1})
    result = update(world, make_settings(gate__holdout=0, trust__feedback=24))
    assert set(result.trust) == set(RELIABLE)  # the other two get no new estimate
    assert {example.flip_rate for example in result.plan.trained if example.rater_id == "caught"} == {0.45}
    assert {example.flip_rate for example in result.plan.trained if example.rater_id == "stranger"} == {1.0 - 0.8}
    assert (result.metrics["raters"]["caught"]["trust"], result.metrics["raters"]["stranger"]["trust"]) == (0.1, 0.8)


def test_the_last_estimates_hold_where_raters_are_too_few_for_new_ones(make_settings: Build) -> None:
    completion = CompletionTokens((5, END), None, 0)
    examples = [
        Example("thumb", (1,), completion, None, name, (name,), number)
        for number, name in enumerate(["ann", "ben", "gold"])
    ]
    settings = make_settings(trust__gold_raters="gold")
    assert trust_in_force(examples, {}, {"ann": 0.3, "away": 0.9}, settings.trust) == {
        "ann": 0.3,
        "ben": 0.8,
        "gold": 0.95,
    }
    assert trust_in_force(examples, {"ann": 0.6}, {"ann": 0.3}, settings.trust) == {
        "ann": 0.6,
        "ben": 0.8,
        "gold": 0.95,
    }
    assert trust_in_force(examples, {}, {}, settings.trust) == {}
    assert trust_in_force(examples, {}, {"ann": 0.3}, make_settings(trust__feedback=0).trust) == {}
