"""Accuracy before seeing: windows and intervals, and the choice of the method that hangs on them."""

from dataclasses import replace

import pytest

from learner.data.examples import CompletionTokens, Example
from learner.reward_model.method_choice import method_choice
from learner.reward_model.prequential import WINDOW, Accuracy, Predictions, is_choice, is_of_equal_length
from store.tallies import wilson_interval

PAIR = Example("pair", (1,), CompletionTokens((1,) * 20), CompletionTokens((2,) * 22), "ann", ("f",), 1)


def test_an_accuracy_has_wilson_s_interval() -> None:
    assert Accuracy.of("") == Accuracy(0, None, None, None)
    found = Accuracy.of("1101")
    assert (found.count, found.value) == (4, 0.75)
    assert (found.low, found.high) == wilson_interval(0.75, 4)


def test_only_the_newest_predictions_count() -> None:
    record = Predictions().added([False] * WINDOW, [], []).added([True] * 3, [True], [False])
    assert record.overall.count == WINDOW
    assert record.overall.value == pytest.approx(3 / WINDOW)
    assert record.pairs.endswith("0111")
    assert (record.equal, record.thumbs) == ("1", "0")
    assert record.metrics()["reward/equal_length"] == 1.0
    assert Predictions().metrics() == {}
    low, high = wilson_interval(0.0, 1)
    assert record.as_json()["thumbs"] == {"count": 1, "accuracy": 0.0, "low": low, "high": high}


def test_answers_are_of_equal_length_within_a_tenth_or_one_token() -> None:
    assert is_of_equal_length(PAIR)
    assert not is_of_equal_length(replace(PAIR, bad=CompletionTokens((2,) * 23)))
    assert is_of_equal_length(replace(PAIR, good=CompletionTokens((1,) * 4), bad=CompletionTokens((1,) * 5)))
    assert not is_of_equal_length(replace(PAIR, good=CompletionTokens((1,) * 4), bad=CompletionTokens((1,) * 6)))


def test_ties_and_corrections_are_no_choices() -> None:
    assert is_choice(PAIR)
    assert not is_choice(replace(PAIR, is_tie=True))
    assert not is_choice(replace(PAIR, kind="correction"))


def test_without_a_tested_prediction_direct_losses_serve() -> None:
    choice = method_choice(Accuracy())
    assert (choice.kind, choice.code) == ("direct", "no_pairs")
    assert "no choice between answers of equal length" in choice.reason


@pytest.mark.parametrize(
    ("right", "wrong", "kind"), [(13, 12, "direct"), (17, 8, "direct"), (18, 7, "on_policy"), (0, 25, "direct")]
)
def test_on_policy_begins_once_the_lower_bound_is_above_chance(right: int, wrong: int, kind: str) -> None:
    accuracy = Accuracy.of("1" * right + "0" * wrong)
    choice = method_choice(accuracy)
    assert choice.kind == kind
    assert (choice.kind == "on_policy") == (accuracy.low is not None and accuracy.low > 0.5)
    assert f"of {right + wrong} choices between answers of equal length" in choice.reason
    assert choice.reason.endswith(".")
    assert choice.reason.count(".") == 1


def test_once_at_work_it_stays_until_the_accuracy_is_at_chance() -> None:
    unsure, chance = Accuracy.of("1" * 15 + "0" * 10), Accuracy.of("10" * 20)
    assert method_choice(unsure).kind == "direct"
    assert (method_choice(unsure, at_work="on_policy").kind, method_choice(unsure, at_work="on_policy").code) == (
        "on_policy",
        "kept",
    )
    assert method_choice(chance, at_work="on_policy").code == "at_chance"
