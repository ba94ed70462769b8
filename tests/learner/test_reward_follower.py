"""The reward model follows feedback between updates, is where a run begins, and goes with an erased person."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from learner import reward_follower
from learner.loop import Loop
from learner.model.anchor_stock import SUFFICIENT
from learner.reward_model.model import RewardModel
from learner.run_history import REWARDS_FROM
from policy.errors import CannotWrite
from policy.reward_folders import KEPT, remove_learned_rewards, reward_folder, reward_numbers
from store.database import transaction
from store.erasure import erase_rater
from store.feedback import is_all_there
from store.learner import learner_status
from store.runs import Run, runs
from store.versions import feedback_of_version
from tests.learner.world import World

Start = Callable[..., Loop]
NEVER = {"trigger__feedback": 1000, "trigger__min_feedback": 1000}  # no update: the reward model alone learns


@pytest.fixture(name="start")
def start_follower(start: Start, monkeypatch: pytest.MonkeyPatch) -> Start:
    monkeypatch.setattr(reward_follower, "LOOK_S", 0.0)
    monkeypatch.setattr(reward_follower, "SHARE", 1e9)

    def build(**flags: Any) -> Loop:
        loop = start(**flags)
        loop._updater.anchors().first(SUFFICIENT)  # as `Loop.prepare` makes them when there is feedback
        return loop

    return build


def newest(world: World) -> RewardModel:
    return RewardModel.read(reward_folder(world.folder, reward_numbers(world.folder, "learner")[-1]))


def described(world: World) -> dict[str, Any]:
    found: dict[str, Any] = learner_status(world.db).detail["reward_model"]
    return found


def test_each_row_of_feedback_is_learned_from_the_first_on_though_no_update_is_due(world: World, start: Start) -> None:
    loop = start(**NEVER)
    assert not loop.tick()
    assert reward_numbers(world.folder) == []
    for count in range(1, 4):
        world.likes_short(1, first=count)
        loop.tick()
        loop.tick()  # with nothing new nothing is fitted
        assert reward_numbers(world.folder, "learner") == list(range(1, count + 1))
        assert newest(world).num_labels == count
        assert (described(world)["labels"], described(world)["pairs"]["count"]) == (count, count - 1)
    assert runs(world.db) == []


def test_a_run_records_the_heads_that_it_begins_from_and_the_same_run_gives_the_same_heads(
    world: World, start: Start
) -> None:
    rows = world.likes_short(3)
    loop = start(**NEVER)
    loop.tick()
    world.likes_short(13, first=3)
    loop = start()
    assert loop.tick()
    run = runs(world.db)[0]
    assert run.settings[REWARDS_FROM] == 1
    made = newest(world)
    assert run.metrics["reward/labels"] == made.num_labels == 14  # two are held out
    assert run.metrics["reward/accuracy_count"] == 15  # and are predicted all the same
    assert {"reward/accuracy_low", "reward/accuracy_high"} <= run.metrics.keys()

    def again(run: Run) -> RewardModel:
        loop = start()
        result = loop._update(run, loop._material(run), loop.settings, FakeRecorder())  # type: ignore[arg-type]
        assert result.rewards is not None
        return result.rewards

    assert torch.equal(again(run).heads.weight, made.heads.weight)
    assert again(run).predictions == made.predictions
    loop.tick()
    assert newest(world).num_labels == 16  # what the run held out is learned next
    assert rows


class FakeRecorder:
    def phase(self, *_: object) -> None:
        pass


def test_versions_that_learned_from_the_reward_model_name_all_that_it_learned_from(world: World, start: Start) -> None:
    few = {"rollout.rounds": 1, "rollout.prompts": 2, "rollout.group_size": 2, "rollout.max_tokens": 8}
    first = world.likes_short(4)
    start(**NEVER).tick()
    with transaction(world.db):  # an update that learned from none of them
        world.db.execute("UPDATE versions SET watermark = ?", [first[-1].seq])
    world.likes_short(16, first=4)
    loop = start(algorithm="grpo", replay=0.0, **few)
    assert loop.tick()
    version = runs(world.db)[0].version
    assert version is not None
    assert {row.id for row in first} <= set(feedback_of_version(world.db, version))


def erase(world: World, rater: str) -> None:
    """What the service does."""
    with transaction(world.db):
        first_seq = erase_rater(world.db, rater).first_seq
    if first_seq is not None:
        remove_learned_rewards(world.folder, first_seq)


def test_after_an_erasure_the_heads_are_fitted_anew_to_what_others_rated(world: World, start: Start) -> None:
    world.likes_short(6)
    prompt = (1, 4, 250, 2, 5)
    for number in range(6):
        short = world.completion(prompt, (251, 252 + number, 2), rater="eva-the-erased")
        long = world.completion(prompt, (60, 61, 62 + number, 63, 64, 2), rater="eva-the-erased")
        world.choice(long, short, "A", rater="eva-the-erased")
        world.thumb(short, False, rater="eva-the-erased")
    loop = start(**NEVER)
    loop.tick()
    with_eva = newest(world)
    assert "eva-the-erased" in with_eva.biases
    erase(world, "eva-the-erased")
    assert reward_numbers(world.folder) == []
    loop.tick()
    rest = newest(world)
    assert rest.num_labels == 6
    assert described(world)["labels"] == 6
    kept = [
        path.read_bytes()
        for folder in ("rewards", "cache")
        for path in (world.folder / folder).rglob("*")
        if path.is_file()
    ]
    assert kept
    assert not any(b"eva-the-erased" in content for content in kept)
    assert [line for line in kept if b"learner" in line]
    features = loop._updater.rewards.features
    assert features._known is not None
    assert len(features._known) == 12  # of six choices, and none of hers
    # as if she had never been here
    theirs = rest.heads.weight
    for path in (world.folder / "rewards").iterdir():
        assert path.name == "000001"
    start(**NEVER).tick()
    torch.testing.assert_close(newest(world).heads.weight, theirs, atol=2e-3, rtol=0)


def test_when_everybody_is_erased_nothing_is_reported_and_nothing_is_fitted_again_and_again(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.likes_short(2)
    loop = start(**NEVER)
    loop.tick()
    erase(world, "ann")
    loop.tick()
    assert learner_status(world.db).detail["reward_model"] is None
    monkeypatch.setattr(reward_follower, "material_of", lambda *_, **__: pytest.fail("fitted again"))
    loop.tick()


def test_heads_that_are_fitted_while_a_person_is_erased_are_not_kept(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = world.likes_short(4)
    loop = start(**NEVER)
    write = RewardModel.write

    def write_late(self: RewardModel, folder: Path, *args: Any, **how: Any) -> str:
        erase(world, "ann")  # after the fit, before its files are there
        return write(self, folder, *args, **how)

    monkeypatch.setattr(RewardModel, "write", write_late)
    assert is_all_there(world.db, [row.id for row in rows])
    loop.tick()
    assert not is_all_there(world.db, [row.id for row in rows])
    assert reward_numbers(world.folder) == []
    assert not list((world.folder / "cache").glob("features-*"))


def test_only_the_newest_reward_models_stay(world: World, start: Start) -> None:
    loop = start(**NEVER)
    for count in range(KEPT + 2):
        world.likes_short(1, first=count)
        loop.tick()
    assert reward_numbers(world.folder) == list(range(3, KEPT + 3))


def test_a_fit_that_fails_is_logged_and_the_learner_goes_on(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.likes_short(2)
    loop = start(**NEVER)

    def full(*_: object, **__: object) -> str:
        raise CannotWrite("the disk is full")

    monkeypatch.setattr(RewardModel, "write", full)
    loop.tick()
    assert "could not follow the feedback" in caplog.text
    assert not loop.tick()


def test_after_a_fit_the_next_one_waits_for_its_share_of_time(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reward_follower, "SHARE", 1e-9)
    loop = start(**NEVER)
    world.likes_short(1)
    loop.tick()
    world.likes_short(1, first=1)
    loop.tick()
    assert reward_numbers(world.folder) == [1]
