import pytest
import torch

from learner.algorithms.statistics import MovingStatistics, masked_statistics, masked_whiten

X = torch.tensor([[1.0, 2.0, 99.0], [4.0, 7.0, 3.0]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 0]])  # 1, 2, 4, 7: mean 3.5, unbiased variance 7


def test_mean_and_variance_leave_padding_out() -> None:
    mean, variance = masked_statistics(X, MASK)
    assert mean.item() == pytest.approx(3.5)
    assert variance.item() == pytest.approx(7.0)


def test_whitening() -> None:
    whitened = masked_whiten(X, MASK)
    assert whitened.flatten().tolist() == pytest.approx(
        [(x - 3.5) / 7**0.5 for x in (1, 2)] + [0.0] + [(x - 3.5) / 7**0.5 for x in (4, 7)] + [0.0]
    )


def test_too_few_to_have_a_deviation() -> None:
    mean, variance = masked_statistics(X, torch.tensor([[0, 1, 0], [0, 0, 0]]))
    assert (mean.item(), variance.item()) == (2.0, 0.0)
    nothing = masked_statistics(X, MASK * 0)
    assert [x.item() for x in nothing] == [0.0, 0.0]
    assert masked_whiten(torch.full((1, 3), 5.0), torch.ones(1, 3)).abs().max() == 0.0


def test_a_tiny_deviation_is_not_blown_up() -> None:
    whitened = masked_whiten(torch.tensor([0.0, 1e-4]), torch.ones(2))
    assert whitened[1].item() == pytest.approx(5e-5 / (5e-9 + 1e-8) ** 0.5, rel=1e-4)
    assert masked_statistics(torch.tensor([1.0, 3.0]), torch.ones(2))[1].item() == pytest.approx(2.0)


def test_moving_statistics_are_right_from_the_first_update_on() -> None:
    start = MovingStatistics()
    assert (start.mean, start.std()) == (0.0, 1.0)
    once = start.updated(4.0, 9.0)
    assert (once.mean, once.std()) == (pytest.approx(4.0), pytest.approx(3.0))
    twice = once.updated(8.0, 1.0)
    weights = 0.9 * 0.1, 0.1
    assert twice.mean == pytest.approx((weights[0] * 4 + weights[1] * 8) / sum(weights))
    assert twice.std() == pytest.approx(((weights[0] * 9 + weights[1]) / sum(weights)) ** 0.5)
    assert once.updated(8.0, 1.0, decay=0.5).mean == pytest.approx((0.05 * 4 + 0.5 * 8) / 0.55)


def test_a_deviation_has_a_floor() -> None:
    tight = MovingStatistics().updated(1.0, 1e-6)
    assert tight.std() == 0.1
    assert tight.std(floor=0.5) == 0.5
