"""A reward model learns what people prefer from a few dozen labels, and is uncertain where it has none."""

from dataclasses import replace

import pytest
import torch

from learner.data.examples import Example
from learner.errors import NothingToLearn
from learner.model.features import completion_features
from learner.model.resident import Resident
from learner.reward_model.calibration import calibration_of
from learner.reward_model.training import trained_reward_model
from learner.settings import RewardModelSettings
from tests.learner.reward_model.labeled import long_over_short, thumbs_for_long, trained


def test_it_learns_a_preference_and_measures_how_well(resident: Resident) -> None:
    examples = [*long_over_short(30), *thumbs_for_long(20, 100)]
    model, metrics = trained_reward_model(resident, examples, RewardModelSettings(), seed=0, token_budget=4096)
    measured = calibration_of(model, resident, [*long_over_short(20, 60), *thumbs_for_long(20, 150)], 4096)
    assert metrics["reward/labels"] == 50
    assert (measured.pairs, measured.thumbs) == (20, 20)
    assert measured.pair_accuracy > 0.9
    assert measured.thumb_auc > 0.9
    assert measured.calibration_error < 0.3
    assert measured.equal_length_accuracy != measured.equal_length_accuracy  # no pair of equal length was there


def test_completions_unlike_the_training_ones_are_more_uncertain(resident: Resident) -> None:
    model = trained(resident, long_over_short(40))
    seen = [(pair.prompt_ids, side.ids) for pair in long_over_short(40) for side in pair.completions]
    generator = torch.Generator().manual_seed(0)
    strange = [(prompt, tuple(torch.randint(6, 320, (40,), generator=generator).tolist())) for prompt, _ in seen[:40]]
    uncertainties = [
        model.scores(completion_features(resident, completions, 4096)).std(0).mean() for completions in (seen, strange)
    ]
    assert uncertainties[1] > uncertainties[0]
    confident, wary = (
        model.rewards(completion_features(resident, strange, 4096), pessimism=kappa) for kappa in (0.0, 1.0)
    )
    assert bool((wary < confident).all())


def test_the_same_examples_give_the_same_model(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.reward_model.training.MAX_STEPS", 20)
    one, again = (trained(resident, long_over_short(20), seed=4) for _ in range(2))
    assert torch.equal(one.heads.weight, again.heads.weight)


def test_a_rater_without_weight_has_no_influence(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.reward_model.training.MAX_STEPS", 50)
    liars = [
        replace(pair, good=pair.bad, bad=pair.good, rater_id="eve", example_weight=0.0)
        for pair in long_over_short(30, 40)
    ]
    model = trained(resident, [*long_over_short(30), *liars])
    assert calibration_of(model, resident, long_over_short(20, 100), 4096).pair_accuracy > 0.9


def test_a_tie_draws_two_completions_together(resident: Resident) -> None:
    pairs = long_over_short(24)
    # on other prompts the same two kinds are equally good
    ties = [replace(pair, is_tie=True) for pair in long_over_short(24, 100)]

    def lead(examples: list[Example]) -> float:
        model = trained(resident, examples)
        some = long_over_short(20, 60)
        good, bad = ([(pair.prompt_ids, pair.completions[which].ids) for pair in some] for which in (0, 1))
        scores = [model.scores(completion_features(resident, side, 4096)).mean().item() for side in (good, bad)]
        return scores[0] - scores[1]

    assert 0.0 < lead([*pairs, *ties]) < 0.6 * lead(pairs)


def test_too_few_labels_make_no_model(resident: Resident) -> None:
    few = RewardModelSettings(min_labels=4)
    with pytest.raises(NothingToLearn, match="needs 4 labels, and there are 3"):
        trained_reward_model(resident, long_over_short(3), few, seed=0, token_budget=4096)


def test_features_do_not_depend_on_what_is_scored_beside_them(resident: Resident) -> None:
    completions = [((1, 4, 20, 2, 5), (50, 51, 2)), ((1, 4, 21, 9, 9, 9, 2, 5), (50, 51, 52, 53, 2)), ((1, 2), (7,))]
    together = completion_features(resident, completions, 4096)
    apart = torch.cat([completion_features(resident, [completion], 4096) for completion in completions])
    assert torch.allclose(together, apart, atol=1e-5)
