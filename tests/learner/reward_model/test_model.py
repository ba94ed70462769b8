"""The reward model: it learns what people like from a few dozen judgements, knows when it does not know, and comes back
from disk.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from learner.data.examples import CompletionTokens, Example
from learner.errors import BadData, BadSetting, NothingToLearn
from learner.model.features import completion_features
from learner.model.resident import Resident
from learner.reward_model.functions import reward_function
from learner.reward_model.model import RewardModel, calibration_of, trained_reward_model
from learner.reward_model.offline import measure_reward_model, scores_of, train_reward_model
from learner.settings import LearnerSettings
from policy.versions import read_version
from tests.learner.world import World

Build = Callable[..., LearnerSettings]


def long_over_short(count: int, first: int = 0) -> list[Example]:
    made = []
    for n in range(first, first + count):
        short, long = (
            CompletionTokens((50 + n % 40, 2)),
            CompletionTokens((60 + n % 30, 61, 62 + n % 7, 63, 64 + n % 5, 2)),
        )
        made.append(Example("pair", (1, 4, 10 + n, 2, 5), long, short, "ann", (f"p{n}",), n))
    return made


def thumbs_for_long(count: int, first: int = 0) -> list[Example]:
    return [
        replace(pair, kind="thumb", good=pair.good if n % 2 else None, bad=None if n % 2 else pair.bad)
        for n, pair in enumerate(long_over_short(count, first))
    ]


@pytest.fixture
def resident(make_settings: Build) -> Resident:
    return Resident(make_settings())


def test_it_learns_a_preference_and_says_how_well(resident: Resident, make_settings: Build) -> None:
    settings = make_settings()
    model, metrics = trained_reward_model(resident, [*long_over_short(30), *thumbs_for_long(20, 100)], settings, seed=0)
    measured = calibration_of(model, resident, [*long_over_short(20, 60), *thumbs_for_long(20, 150)], 4096)
    assert metrics["reward/labels"] == 50
    assert (measured.pairs, measured.thumbs) == (20, 20)
    assert measured.pair_accuracy > 0.9
    assert measured.thumb_auc > 0.9
    assert measured.calibration_error < 0.3
    assert measured.equal_length_accuracy != measured.equal_length_accuracy  # no pair of equal length was there


def test_it_knows_when_it_does_not_know(resident: Resident, make_settings: Build) -> None:
    model, _ = trained_reward_model(resident, long_over_short(40), make_settings(), seed=0)
    seen = [(pair.prompt_ids, reply.ids) for pair in long_over_short(40) for reply in pair.completions]
    generator = torch.Generator().manual_seed(0)
    strange = [(prompt, tuple(torch.randint(6, 320, (40,), generator=generator).tolist())) for prompt, _ in seen[:40]]
    doubts = [model.scores(completion_features(resident, replies, 4096)).std(0).mean() for replies in (seen, strange)]
    assert doubts[1] > doubts[0]
    confident, wary = (
        model.rewards(completion_features(resident, strange, 4096), pessimism=kappa) for kappa in (0.0, 1.0)
    )
    assert bool((wary < confident).all())


def test_it_comes_back_from_disk_as_it_was(resident: Resident, make_settings: Build, tmp_path: Path) -> None:
    model, _ = trained_reward_model(resident, long_over_short(20), make_settings(), seed=0)
    model.write(tmp_path / "000001", 0, {}, base_model="tiny")
    assert read_version(tmp_path / "000001").base_model == "tiny"
    again = RewardModel.read(tmp_path / "000001")
    features = completion_features(resident, [((1, 4, 20, 2, 5), (50, 51, 2))], 4096)
    assert torch.equal(again.rewards(features, pessimism=1.0), model.rewards(features, pessimism=1.0))
    assert again.base_digest == resident.base_digest


def test_the_same_judgements_give_the_same_model(resident: Resident, make_settings: Build) -> None:
    one, again = (
        trained_reward_model(resident, long_over_short(20), make_settings(reward_steps=20), seed=4)[0] for _ in range(2)
    )
    assert torch.equal(one.heads.weight, again.heads.weight)


def test_a_rater_without_weight_has_no_say(resident: Resident, make_settings: Build) -> None:
    settings = make_settings(reward_steps=50)
    liars = [
        replace(pair, good=pair.bad, bad=pair.good, rater_id="eve", example_weight=0.0) for pair in long_over_short(30, 40)
    ]
    model, _ = trained_reward_model(resident, [*long_over_short(30), *liars], settings, seed=0)
    assert calibration_of(model, resident, long_over_short(20, 100), 4096).pair_accuracy > 0.9


def test_a_tie_draws_two_replies_together(resident: Resident, make_settings: Build) -> None:
    pairs = long_over_short(24)
    ties = [
        replace(pair, is_tie=True) for pair in long_over_short(24, 100)
    ]  # on other prompts the same two kinds are equally good

    def lead(examples: list[Example]) -> float:
        model, _ = trained_reward_model(resident, examples, make_settings(), seed=0)
        some = long_over_short(20, 60)
        good, bad = ([(pair.prompt_ids, pair.completions[which].ids) for pair in some] for which in (0, 1))
        scores = [model.scores(completion_features(resident, replies, 4096)).mean().item() for replies in (good, bad)]
        return scores[0] - scores[1]

    assert 0.0 < lead([*pairs, *ties]) < 0.6 * lead(pairs)


def test_too_few_judgements_make_no_model(resident: Resident, make_settings: Build) -> None:
    with pytest.raises(NothingToLearn, match="wants 16 judgements, there are 3"):
        trained_reward_model(resident, long_over_short(3), make_settings(), seed=0)


def test_features_do_not_depend_on_what_is_scored_beside_them(resident: Resident) -> None:
    replies = [((1, 4, 20, 2, 5), (50, 51, 2)), ((1, 4, 21, 9, 9, 9, 2, 5), (50, 51, 52, 53, 2)), ((1, 2), (7,))]
    together = completion_features(resident, replies, 4096)
    apart = torch.cat([completion_features(resident, [reply], 4096) for reply in replies])
    assert torch.allclose(together, apart, atol=1e-5)


def test_by_itself_it_is_trained_measured_and_asked(world: World, make_settings: Build, tmp_path: Path) -> None:
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
    assert [set(line) for line in scored] == [{"score", "doubt"}] * 2


def test_ties_of_the_store_are_trained_on_and_counted(world: World, make_settings: Build) -> None:
    settings = make_settings(reward_steps=5)
    for number in range(20):
        world.choice(
            world.reply((1, 4, 99, 2, 5), (70 + number, 2)), world.reply((1, 4, 99, 2, 5), (100 + number, 2)), "tie"
        )
    with pytest.raises(NothingToLearn, match="wants 16 judgements, there are 0"):
        train_reward_model(settings, None)
    world.likes_short(20)
    world.choice(
        world.reply((1, 4, 98, 2, 5), (70, 2)), world.reply((1, 4, 98, 2, 5), (71, 2)), "tie"
    )  # after all that an update would wait for
    made = train_reward_model(settings, None)
    assert (made["reward/ties"], made["reward/labels"]) == (21, 16 + 21)
    assert made["held_out"]["pairs"] == 4
    assert read_version(Path(made["folder"])).base_model == settings.model


def test_without_a_model_it_says_how_to_make_one(world: World, make_settings: Build) -> None:
    with pytest.raises(NothingToLearn, match="attune reward train"):
        scores_of(make_settings(), [("q", "a")])


def test_a_reward_function_is_found_by_name_or_refused() -> None:
    found = reward_function("os.path:join")
    assert found is not None
    assert reward_function("") is None
    for name in ("os.path:nothing", "no_such_module:f", "os:sep"):
        with pytest.raises(ValueError, match="reward function"):
            reward_function(name)


def length_of(prompt: str, reply: str) -> int:
    return len(reply)


def fails(prompt: str, reply: str) -> float:
    raise ValueError("no")


def says_nothing(prompt: str, reply: str) -> None:
    pass


def not_a_number(prompt: str, reply: str) -> float:
    return float("nan")


def several(prompt: str, reply: str) -> torch.Tensor:
    return torch.ones(2)


def test_the_numbers_of_several_reward_functions_are_added() -> None:
    one, two = (
        reward_function(names) for names in (f"{__name__}:length_of", f"{__name__}:length_of, {__name__}:length_of")
    )
    assert one is not None
    assert two is not None
    assert (one("q", "four"), two("q", "four")) == (4.0, 8.0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fails", "failed on a reply with ValueError: no"),
        ("says_nothing", "returned None; it must return a finite number"),
        ("not_a_number", "returned nan"),
        ("several", r"returned tensor\(\[1., 1.\]\)"),
    ],
)
def test_a_reward_function_that_gives_no_number_is_named(name: str, said: str) -> None:
    function = reward_function(f"{__name__}:length_of,{__name__}:{name}")
    assert function is not None
    with pytest.raises(BadSetting, match=f"the reward function '{__name__}:{name}' {said}"):
        function("q", "a")


def test_a_text_longer_than_the_context_is_not_scored(world: World, resident: Resident, make_settings: Build) -> None:
    model, _ = trained_reward_model(resident, long_over_short(20), make_settings(reward_steps=5), seed=0)
    model.write(world.folder / "rewards" / "000001", 0, {}, base_model="tiny")
    assert len(scores_of(make_settings(), [("q", "x" * 400)])) == 1
    with pytest.raises(BadData, match=r"prompt and reply are 6\d\d tokens, and .* reads 512 at most"):
        scores_of(make_settings(), [("q", "a"), ("x" * 300, "y" * 300)])


def test_a_file_that_says_nothing_is_nothing_to_judge_by(
    world: World, resident: Resident, make_settings: Build, tmp_path: Path
) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(json.dumps({"prompt": "q", "chosen": "no", "rejected": "no"}) + "\n")
    with pytest.raises(
        BadData, match="nothing to judge by; left out: 1 with an empty reply, or the same reply on both sides"
    ):
        train_reward_model(make_settings(), file)
