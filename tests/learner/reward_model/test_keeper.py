"""The reward model that stays: it follows all feedback, predicts before it learns, and forgets whom it must."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from learner.data.examples import CompletionTokens, Example
from learner.errors import NothingToLearn
from learner.model.anchors import Anchor
from learner.model.feature_cache import FeatureCache
from learner.model.features import completion_features
from learner.model.resident import Resident
from learner.reward_model import keeper as keeper_module
from learner.reward_model.keeper import RewardKeeper
from learner.reward_model.method_choice import method_choice
from learner.reward_model.model import RewardModel
from learner.settings import LearnerSettings
from policy.reward_folders import reward_folder

Build = Callable[..., LearnerSettings]
END, RIGHT, WRONG = 2, 50, 90
Answer = tuple[int, ...]


def answer(rng: random.Random, *, right: bool, length: int) -> Answer:
    """An answer whose first token shows whether it is right; the others are filler."""
    return (RIGHT if right else WRONG, *(200 + rng.randrange(20) for _ in range(length - 2)), END)


def choices(count: int, better: Callable[[Answer], float], *, first: int = 1, rater: str = "ann") -> list[Example]:
    """Choices of a person who takes the answer with the larger value, between answers of many lengths."""
    rng = random.Random(first)
    found = []
    while len(found) < count:
        a, b = (answer(rng, right=rng.random() < 0.5, length=rng.choice([4, 5, 5, 6, 8])) for _ in range(2))
        if better(a) == better(b):
            continue
        good, bad = (a, b) if better(a) > better(b) else (b, a)
        number = first + len(found)
        sides = CompletionTokens(good), CompletionTokens(bad)
        found.append(Example("pair", (1, 4, 10 + number % 100, 2, 5), *sides, rater, (f"f{number}",), number))
    return found


def by_worth(ids: Answer) -> float:
    return float(ids[0] == RIGHT)


def by_length(ids: Answer) -> float:
    return -float(len(ids))


@pytest.fixture
def make_keeper(resident: Resident, make_settings: Build) -> Callable[..., RewardKeeper]:
    rng = random.Random(7)

    def anchors() -> list[Anchor]:
        some = [answer(rng, right=rng.random() < 0.5, length=rng.choice([4, 5, 6, 8])) for _ in range(24)]
        return [Anchor((1, 4, 30 + number, 2, 5), ids, None) for number, ids in enumerate(some)]  # type: ignore[arg-type]

    cached = anchors()

    def build(**flags: object) -> RewardKeeper:
        return RewardKeeper(resident, make_settings(**flags), lambda: cached)

    return build


def kept(keeper: RewardKeeper, model: RewardModel, number: int) -> int:
    model.write(reward_folder(keeper._settings.data, number), {}, base_model="tiny")
    return number


def test_accuracy_at_equal_length_separates_a_taste_for_length_from_one_for_right_answers(
    make_keeper: Callable[..., RewardKeeper],
) -> None:
    keeper = make_keeper()
    wants_right, _ = keeper.learn(choices(160, by_worth), trust={})
    wants_short, _ = keeper.learn(choices(160, by_length), trust={})
    assert (wants_right.predictions.overall.value or 0.0) > 0.8
    assert (wants_short.predictions.overall.value or 0.0) > 0.8
    assert (wants_right.predictions.equal_length.low or 0.0) > 0.6
    assert (wants_short.predictions.equal_length.low or 0.0) < 0.5
    assert method_choice(wants_right.predictions.equal_length).kind == "on_policy"
    assert method_choice(wants_short.predictions.equal_length).kind == "direct"


def test_each_label_is_predicted_once_and_before_it_is_learned(make_keeper: Callable[..., RewardKeeper]) -> None:
    examples = [*choices(32, by_worth), *choices(32, lambda ids: -by_worth(ids), first=33)]
    keeper = make_keeper()
    before, _ = keeper.learn(examples[:32], trust={})
    assert before.predictions.overall.count == 31  # of the first nothing predicts it
    after, _ = keeper.learn(examples, trust={}, begin=kept(keeper, before, 1))
    assert after.predictions.overall.count == 63
    assert after.predictions.pairs[31:].count("1") < 6  # the taste turned: who had learned it would predict half
    again, _ = keeper.learn(examples, trust={}, begin=kept(keeper, after, 2))
    assert again.predictions == after.predictions


def test_it_learns_from_the_first_pair_on(make_keeper: Callable[..., RewardKeeper]) -> None:
    one, metrics = make_keeper().learn(choices(1, by_worth), trust={})
    assert metrics["reward/labels"] == 1
    assert one.predictions.overall.count == 0
    with pytest.raises(NothingToLearn, match="needs 2 labels, and there are 1"):
        make_keeper(reward_model__min_labels=2).learn(choices(1, by_worth), trust={})


def test_the_same_start_and_the_same_feedback_give_the_same_heads(make_keeper: Callable[..., RewardKeeper]) -> None:
    examples = choices(40, by_worth)
    first = make_keeper()
    begin = kept(first, first.learn(examples[:24], trust={})[0], 1)
    one, one_metrics = first.learn(examples, trust={}, begin=begin)
    first.features.keep()
    first.features.path.unlink()  # features that are computed again are the same to the last bit
    again, again_metrics = make_keeper().learn(examples, trust={}, begin=begin)
    assert torch.equal(one.heads.weight, again.heads.weight)
    assert one_metrics == again_metrics
    anew, _ = make_keeper().learn(examples, trust={}, begin=None)
    torch.testing.assert_close(anew.heads.weight, one.heads.weight, atol=2e-3, rtol=0)
    assert torch.equal(anew.heads.initial, one.heads.initial)


def test_a_start_that_is_gone_or_of_another_base_model_begins_anew(
    make_keeper: Callable[..., RewardKeeper], caplog: pytest.LogCaptureFixture
) -> None:
    keeper, examples = make_keeper(), choices(20, by_worth)
    cold, _ = keeper.learn(examples, trust={})
    gone, _ = keeper.learn(examples, trust={}, begin=77)
    assert torch.equal(gone.heads.weight, cold.heads.weight)
    assert "begins anew" in caplog.text
    cold.base_digest = "another"
    other, _ = keeper.learn(examples, trust={}, begin=kept(keeper, cold, 3))
    assert other.base_digest != "another"


def test_without_a_person_the_heads_are_those_that_others_alone_give(make_keeper: Callable[..., RewardKeeper]) -> None:
    theirs = choices(40, by_worth)
    eva = choices(40, by_length, first=101, rater="eva")
    keeper = make_keeper()
    both, _ = keeper.learn([*theirs, *eva], trust={})
    begin = kept(keeper, both, 1)
    rest, _ = keeper.learn(theirs, trust={}, begin=begin)
    alone, _ = make_keeper().learn(theirs, trust={})
    assert (both.heads.weight - alone.heads.weight).abs().max() > 0.1
    torch.testing.assert_close(rest.heads.weight, alone.heads.weight, atol=2e-3, rtol=0)
    assert set(rest.biases) == {"ann"}
    assert not set(rest.feedback_ids) & {row for example in eva for row in example.feedback_ids}


def test_held_out_examples_are_predicted_and_not_learned(make_keeper: Callable[..., RewardKeeper]) -> None:
    examples = choices(40, by_worth)
    held_out = examples[30:]
    keeper = make_keeper()
    model, metrics = keeper.learn(examples, trust={}, held_out=held_out)
    apart, _ = keeper.learn(examples[:30], trust={})
    torch.testing.assert_close(model.heads.weight, apart.heads.weight, atol=2e-3, rtol=0)
    assert metrics["reward/labels"] == 30
    assert model.predictions.overall.count == 39


def test_thumbs_corrections_ties_and_scores_are_all_learned_from(make_keeper: Callable[..., RewardKeeper]) -> None:
    pairs = choices(60, by_worth)
    thumbs = [
        replace(pair, kind="thumb", bad=None) if n % 2 else replace(pair, kind="thumb", good=None)
        for n, pair in enumerate(pairs)
    ]
    scores = [replace(thumb, share=0.4) for thumb in thumbs]
    corrections = [replace(pair, kind="correction") for pair in pairs]
    right, wrong = ((1, 4, 30, 2, 5), (RIGHT, 201, 202, END)), ((1, 4, 30, 2, 5), (WRONG, 201, 202, END))
    keeper = make_keeper()

    def lead(examples: Sequence[Example]) -> float:
        model, _ = keeper.learn(examples, trust={})
        good, bad = model.scores(keeper.features.features([right, wrong])).mean(0).tolist()
        return good - bad

    assert lead(thumbs) > lead(scores) > 0.2
    assert lead(corrections) > 1.0
    ties = [replace(pair, is_tie=True, seq=pair.seq + 100, feedback_ids=(f"t{n}",)) for n, pair in enumerate(pairs)]
    assert lead([*pairs, *ties]) < lead(pairs)
    assert keeper.learn([*pairs, *ties], trust={})[1]["reward/ties"] == 60
    assert keeper.learn(corrections, trust={})[0].predictions.overall.count == 0


def test_the_newest_labels_alone_are_fitted(
    make_keeper: Callable[..., RewardKeeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "MAX_LABELS", 24)
    model, metrics = make_keeper().learn(choices(40, by_worth), trust={})
    assert metrics["reward/labels"] == 24
    assert model.feedback_ids[0] == "f17"


def test_a_file_of_heads_stays_small_whatever_they_learned_from(make_keeper: Callable[..., RewardKeeper]) -> None:
    keeper = make_keeper()
    sizes = []
    for number, count in enumerate((2, 40), 1):
        folder = reward_folder(
            keeper._settings.data, kept(keeper, keeper.learn(choices(count, by_worth), trust={})[0], number)
        )
        sizes.append(sum(path.stat().st_size for path in folder.iterdir()))
    assert sizes[1] - sizes[0] < 1000
    assert sizes[1] < 100_000


def test_features_are_found_again_and_those_of_nobody_are_forgotten(
    resident: Resident, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    completions = [((1, 4, 20 + n, 2, 5), (50 + n, 51, 2)) for n in range(4)]
    cache = FeatureCache(resident, tmp_path)
    found = cache.features(completions)
    torch.testing.assert_close(found, completion_features(resident, completions, 4096), atol=5e-3, rtol=5e-3)
    cache.keep()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    with monkeypatch.context() as patched:
        fresh = FeatureCache(resident, tmp_path)
        assert torch.equal(fresh.features(completions[:2]), found[:2])
        fresh.keep()
        patched.setattr(
            "learner.model.feature_cache.completion_features",
            lambda resident, some, *_, **__: refuse() if some else torch.zeros(0, found.size(1)),
        )
        assert torch.equal(FeatureCache(resident, tmp_path).features(completions[:2]), found[:2])
        with pytest.raises(AssertionError, match="computed again"):
            FeatureCache(resident, tmp_path).features(completions)
    cache.path.write_bytes(b"half a file")
    assert torch.equal(FeatureCache(resident, tmp_path).features(completions), found)


def test_features_end_with_log_probabilities_and_the_length(resident: Resident) -> None:
    prompt, ids = (1, 4, 20, 2, 5), (50, 51, 52, 2)
    with resident.as_base() as model:
        logits = model(input_ids=torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        states = model(input_ids=torch.tensor([[*prompt, *ids]]), output_hidden_states=True).hidden_states[-1][0]
    logps = logits.gather(1, torch.tensor(ids)[:, None])[:, 0]
    found = completion_features(resident, [(prompt, ids), ((1, 2), (7,))], 4096)[0]
    expected = [-torch.log1p(-size).item() for size in (logps.mean(), logps.min(), logps.sum())]
    assert found[-4:].tolist() == pytest.approx([*expected, torch.tensor(5.0).log().item()], abs=1e-4)
    torch.testing.assert_close(found[: states.size(1)], states[-1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[states.size(1) : -4], states[len(prompt) :].mean(0), atol=1e-4, rtol=1e-4)
