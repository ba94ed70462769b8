import pytest
import torch

from learner.algorithms.sft import change_of, nll_loss, weighted_nll_loss


def test_likelihood_is_a_mean_over_tokens_of_each_completion() -> None:
    values, metrics = nll_loss(torch.tensor([-6.0, -2.0, 0.0]), torch.tensor([3, 1, 0]))
    assert values.tolist() == [2.0, 2.0, 0.0]
    assert metrics == pytest.approx({"nll/mean": 4 / 3})
    assert nll_loss(torch.zeros(0), torch.zeros(0))[1] == {}


def test_changed_tokens_weigh_more() -> None:
    logps, weights = torch.tensor([-1.0, -2.0, -3.0, -4.0]), torch.tensor([1.0, 0.1, 0.0, 0.5])
    values, metrics = weighted_nll_loss(logps, weights, torch.tensor([0, 0, 1, 2]), 4)
    assert values.tolist() == pytest.approx([1.2 / 1.1, 0.0, 4.0, 0.0])
    assert metrics == pytest.approx({"nll/changed": (1.2 / 1.1 + 4.0) / 4})
    assert weighted_nll_loss(torch.zeros(0), torch.zeros(0), torch.zeros(0, dtype=torch.long), 0)[1] == {}


def test_equal_weights_are_the_plain_likelihood() -> None:
    logps, branch = torch.tensor([-1.0, -2.0, -6.0]), torch.tensor([0, 0, 1])
    values, _ = weighted_nll_loss(logps, torch.full((3,), 0.1), branch, 2)
    torch.testing.assert_close(values, nll_loss(torch.tensor([-3.0, -6.0]), torch.tensor([2, 1]))[0])


def test_what_a_correction_changed() -> None:
    replaced = change_of([5, 6, 7, 2], [5, 9, 8, 7, 2])
    assert replaced.weights == [0.1, 1.0, 1.0, 0.1, 0.1]
    assert (replaced.num_changed, replaced.last_changed) == (2, 2)
    inserted = change_of([5, 6, 2], [5, 6, 7, 2], unchanged_weight=0.3)
    assert inserted.weights == [0.3, 0.3, 1.0, 0.3]
    assert inserted.last_changed == 2


def test_a_removal_counts_as_a_change_of_the_token_that_follows() -> None:
    taken = change_of([5, 6, 7, 2], [5, 2])
    assert taken.weights == [0.1, 1.0]
    assert (taken.num_changed, taken.last_changed) == (1, 1)
    at_the_end = change_of([5, 6, 7], [5])
    assert at_the_end.weights == [0.1]
    assert (at_the_end.num_changed, at_the_end.last_changed) == (0, -1)


def test_nothing_and_everything_changed() -> None:
    assert change_of([1, 2], [1, 2]).num_changed == 0
    assert change_of([1, 2], [3, 4]) == ([1.0, 1.0], 2, 1)
    assert change_of([1], []) == ([], 0, -1)
    long = [3] * 300  # difflib may not ignore a frequent token
    assert change_of(long, [*long, 4]).num_changed == 1
