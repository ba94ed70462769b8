"""The commands of `attune reward`: train from a store or a file, measure, score."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from learner.errors import BadData, NothingToLearn
from learner.model.resident import Resident
from learner.reward_model.standalone import measure_reward_model, scores_of, train_reward_model
from learner.settings import LearnerSettings
from policy.versions import read_version
from tests.learner.reward_model.labeled import long_over_short, trained
from tests.learner.world import World

Build = Callable[..., LearnerSettings]
MAX_STEPS = "learner.reward_model.training.MAX_STEPS"


def test_it_is_trained_measured_and_asked_for_scores(world: World, make_settings: Build, tmp_path: Path) -> None:
    world.likes_short(40)
    made = train_reward_model(make_settings(), None)
    assert made["held_out"]["pairs"] >= 6
    assert made["held_out"]["pair_accuracy"] > 0.8
    assert Path(made["folder"]) == world.folder / "rewards" / "000001"
    file = tmp_path / "p.jsonl"
    file.write_text(json.dumps({"prompt": "q", "chosen": "no", "rejected": "well, let me think about it"}) + "\n")
    measured = measure_reward_model(make_settings(), file)
    assert measured["pairs"] == 1
    assert measured["thumb_auc"] is None
    scored = scores_of(make_settings(), [("q", "no"), ("q", "well, let me think about it for a while")])
    assert [set(line) for line in scored] == [{"score", "uncertainty"}] * 2


def test_ties_of_the_store_are_trained_on_and_counted(
    world: World, make_settings: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MAX_STEPS, 5)
    settings = make_settings()
    for number in range(20):
        world.choice(
            world.completion((1, 4, 99, 2, 5), (70 + number, 2)),
            world.completion((1, 4, 99, 2, 5), (100 + number, 2)),
            "tie",
        )
    with pytest.raises(NothingToLearn, match="needs 1 labels, and there are 0"):
        train_reward_model(settings, None)
    world.likes_short(20)
    world.choice(
        world.completion((1, 4, 98, 2, 5), (70, 2)), world.completion((1, 4, 98, 2, 5), (71, 2)), "tie"
    )  # after all that an update would wait for
    made = train_reward_model(settings, None)
    assert (made["reward/ties"], made["reward/labels"]) == (21, 16 + 21)
    assert made["held_out"]["pairs"] == 4
    assert read_version(Path(made["folder"])).base_model == settings.model


def test_without_a_model_the_error_names_the_command_that_makes_one(world: World, make_settings: Build) -> None:
    with pytest.raises(NothingToLearn, match="attune reward train"):
        scores_of(make_settings(), [("q", "a")])


def test_a_text_longer_than_the_context_is_not_scored(
    world: World, resident: Resident, make_settings: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MAX_STEPS, 5)
    model = trained(resident, long_over_short(20))
    model.write(world.folder / "rewards" / "000001", {}, base_model="tiny")
    assert len(scores_of(make_settings(), [("q", "x" * 400)])) == 1
    with pytest.raises(BadData, match=r"prompt and answer are 6\d\d tokens, and .* reads 512 at most"):
        scores_of(make_settings(), [("q", "a"), ("x" * 300, "y" * 300)])


def test_a_file_without_an_informative_line_is_refused(
    world: World, resident: Resident, make_settings: Build, tmp_path: Path
) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(json.dumps({"prompt": "q", "chosen": "no", "rejected": "no"}) + "\n")
    with pytest.raises(
        BadData,
        match="nothing to measure with; left out: 1 with an empty completion, or the same completion on both sides",
    ):
        train_reward_model(make_settings(), file)
