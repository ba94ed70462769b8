import math

import pytest
import torch
import torch.nn.functional as F

from learner.algorithms.reward import (
    RewardHeads,
    area_under_curve,
    bias_prior_loss,
    bootstrap_weights,
    bradley_terry_loss,
    correction_margin,
    expected_calibration_error,
    lower_confidence_bound,
    thumb_loss,
)
from learner.algorithms.statistics import MovingStatistics

CHOSEN, REJECTED = torch.tensor([1.0, -0.5, 2.0]), torch.tensor([0.5, 0.5, 2.0])  # ahead by 0.5, -1, 0


def test_bradley_terry_by_hand() -> None:
    values, metrics = bradley_terry_loss(CHOSEN, REJECTED)
    torch.testing.assert_close(values, -F.logsigmoid(torch.tensor([0.5, -1.0, 0.0])))
    assert metrics == pytest.approx({"reward/margin": -1 / 6, "reward/accuracy": 1 / 3})
    shifted, _ = bradley_terry_loss(CHOSEN + 7.0, REJECTED + 7.0)
    torch.testing.assert_close(shifted, values)
    assert bradley_terry_loss(torch.zeros(0), torch.zeros(0))[1] == {}


def test_margins() -> None:
    margin = torch.tensor([0.2, 0.0, 1.0])
    values, _ = bradley_terry_loss(CHOSEN, REJECTED, margin=margin)
    expected = -F.logsigmoid(torch.tensor([0.5, -1.0, 0.0]) - margin)
    torch.testing.assert_close(values, expected)


def test_a_noisy_rater_is_a_mixture() -> None:
    eps = torch.tensor([0.0, 0.1, 0.3])
    values, _ = bradley_terry_loss(CHOSEN, REJECTED, flip_rate=eps)
    p = torch.sigmoid(CHOSEN - REJECTED)
    torch.testing.assert_close(values, -((1 - eps) * p + eps * (1 - p)).log())
    far = torch.tensor([-50.0], requires_grad=True)
    bradley_terry_loss(far, torch.zeros(1), flip_rate=0.1)[0].sum().backward()
    assert far.grad is not None
    assert far.grad.abs().max() < 1e-6  # a label that far off is taken for an error


def test_a_tie_draws_scores_together() -> None:
    tie = torch.tensor([True, False, True])
    values, _ = bradley_terry_loss(CHOSEN, REJECTED, margin=0.3, flip_rate=0.1, is_tie=tie)
    plain, _ = bradley_terry_loss(CHOSEN, REJECTED, margin=0.3, flip_rate=0.1)
    assert values[1] == plain[1]
    assert values[2].item() == pytest.approx(math.log(2))
    assert values[0].item() == pytest.approx(-0.5 * math.log(0.25 / math.cosh(0.25) ** 2))


def test_thumbs_with_a_threshold_per_rater() -> None:
    up, bias = torch.tensor([True, False, True]), torch.tensor([0.5, -1.0, 3.0])
    values, metrics = thumb_loss(CHOSEN, up, bias)
    torch.testing.assert_close(values, -F.logsigmoid(torch.tensor([0.5, -0.5, -1.0])))
    assert metrics == pytest.approx({"reward/thumb_accuracy": 1 / 3})
    noisy, _ = thumb_loss(CHOSEN, up, bias, flip_rate=0.2)
    torch.testing.assert_close(noisy, -(0.6 * (-values).exp() + 0.2).log())
    assert thumb_loss(torch.zeros(0), torch.zeros(0, dtype=torch.bool), torch.zeros(0))[1] == {}
    assert thumb_loss(torch.zeros(1), torch.tensor([False]), torch.zeros(1))[1] == {"reward/thumb_accuracy": 1.0}
    assert thumb_loss(torch.tensor([0.5]), torch.tensor([True]), torch.zeros(1))[1] == {"reward/thumb_accuracy": 1.0}
    assert bias_prior_loss(torch.tensor([2.0, -1.0])).tolist() == [2.0, 0.5]


def test_losses_take_an_ensemble() -> None:
    scores = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    values, _ = bradley_terry_loss(scores, scores - 1.0, flip_rate=torch.tensor([0.0, 0.1, 0.2]))
    assert values.shape == (4, 3)
    values, _ = thumb_loss(scores, torch.tensor([True, False, True]), torch.zeros(3))
    torch.testing.assert_close(values[2], thumb_loss(scores[2], torch.tensor([True, False, True]), torch.zeros(3))[0])


def test_corrections_lead_by_half_the_share_that_changed() -> None:
    assert correction_margin(torch.tensor([1, 4, 9, 1, 0]), torch.tensor([4, 4, 4, 1, 0])).tolist() == [
        0.125,
        0.5,
        0.5,
        0.5,
        0.0,
    ]


def test_heads_are_drawn_from_the_prior_in_opposite_pairs() -> None:
    deviation = torch.linspace(0.1, 2.0, 399)
    heads = RewardHeads(deviation, 20)
    assert heads.weight.shape == (20, 399)
    torch.testing.assert_close(heads.weight[:10], -heads.weight[10:])
    drawn = torch.randn(1, 399, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(RewardHeads(deviation, 2, seed=4).weight[:1].detach(), drawn * deviation)
    assert torch.equal(heads.weight, RewardHeads(deviation, 20, seed=0).weight)
    assert not torch.equal(heads.weight, RewardHeads(deviation, 20, seed=1).weight)
    assert RewardHeads(torch.ones(3)).weight.shape == (10, 3)
    for odd in (1, 3):
        with pytest.raises(ValueError, match=f"{odd} is odd"):
            RewardHeads(torch.ones(3), odd)
    states = torch.randn(5, 399)
    torch.testing.assert_close(heads(states)[7, 2], heads.weight[7] @ states[2])
    assert heads(states.bfloat16()).shape == (20, 5)
    assert {"initial", "deviation"} <= heads.state_dict().keys()


def test_the_prior_is_normal_around_each_draw() -> None:
    heads = RewardHeads(torch.tensor([1.0, 2.0, 0.5]), 2)
    assert heads.prior_loss().item() == 0.0
    with torch.no_grad():
        heads.weight += 2.0
    assert heads.prior_loss().item() == pytest.approx(2 * 0.5 * (2.0**2 + 1.0**2 + 4.0**2))


def fitted(states: torch.Tensor, truth: torch.Tensor, num_pairs: int) -> RewardHeads:
    """Return heads trained on pairs of states whose labels follow the linear scorer `truth`."""
    heads, generator = RewardHeads(torch.full((states.size(1),), 1.5), 8), torch.Generator().manual_seed(1)
    i, j = torch.randint(0, len(states), (2, num_pairs), generator=generator)
    better = torch.rand(num_pairs, generator=generator) < torch.sigmoid((states[i] - states[j]) @ truth)
    i, j = torch.where(better, i, j), torch.where(better, j, i)
    weights = bootstrap_weights(8, torch.arange(num_pairs))
    optimizer = torch.optim.Adam(heads.parameters(), lr=0.2)
    for _ in range(60):
        values, _ = bradley_terry_loss(heads(states[i]), heads(states[j]))
        loss = (weights * values).sum(1).sum() / num_pairs + heads.prior_loss() / num_pairs
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return heads


def test_scores_are_recovered_and_uncertainty_shrinks_where_there_is_data() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(40, 6, generator=generator)
    states[:, 5] = 0.0  # no data has a component in this direction
    truth = torch.tensor([2.0, -1.0, 0.5, 0.0, 1.0, 0.0])
    few, many = fitted(states, truth, 20), fitted(states, truth, 500)
    mean = many.weight.detach().mean(0)
    assert F.cosine_similarity(mean[:5], truth[:5], dim=0) > 0.98
    assert mean[0].item() == pytest.approx(2.0, abs=0.4)
    with torch.no_grad():
        assert many(states).std(0).mean() < 0.7 * few(states).std(0).mean()
        unseen = torch.zeros(1, 6)
        unseen[0, 5] = 3.0
        assert many(unseen).std(0) > 2 * many(states).std(0).mean()


def test_bootstrap_weights_stay_with_their_example() -> None:
    numbers = torch.arange(400)
    weights = bootstrap_weights(10, numbers)
    assert weights.shape == (10, 400)
    assert torch.equal(bootstrap_weights(10, numbers[[7, 3]]), weights[:, [7, 3]])
    assert not torch.equal(bootstrap_weights(10, numbers, seed=1), weights)
    assert weights.mean().item() == pytest.approx(1.0, abs=0.05)
    assert weights.var().item() == pytest.approx(1.0, abs=0.1)
    assert bootstrap_weights(10, numbers[:0]).shape == (10, 0)
    assert torch.equal(bootstrap_weights(3, torch.tensor([1_000_003])), bootstrap_weights(3, torch.tensor([0]), seed=1))


def test_uncertainty_is_subtracted_from_the_score() -> None:
    scores = torch.tensor([[1.0, 4.0, 100.0], [3.0, 4.0, 100.0]])
    statistics = MovingStatistics().updated(2.0, 4.0)
    bound = lower_confidence_bound(scores, statistics)
    assert bound.tolist() == pytest.approx([0.0 - 0.5, 1.0, 5.0])
    assert lower_confidence_bound(-scores, statistics)[2].item() == pytest.approx(-5.0)
    assert lower_confidence_bound(scores, statistics, pessimism=2.0, limit=7.0).tolist() == pytest.approx(
        [-1.0, 1.0, 7.0]
    )


def test_area_under_the_curve() -> None:
    labels = torch.tensor([True, False, True, False])
    assert area_under_curve(torch.tensor([3.0, 1.0, 2.0, 0.0]), labels) == 1.0
    assert area_under_curve(torch.tensor([0.0, 1.0, 2.0, 1.5]), labels) == 0.5
    assert area_under_curve(torch.tensor([1.0, 1.0, 2.0, 1.0]), labels) == 0.75
    assert math.isnan(area_under_curve(torch.tensor([1.0]), torch.tensor([True])))
    assert math.isnan(area_under_curve(torch.tensor([1.0]), torch.tensor([False])))


def test_calibration() -> None:
    calibrated = expected_calibration_error(
        torch.tensor([0.25] * 4 + [0.75] * 4), torch.tensor([1, 0, 0, 0, 1, 1, 1, 0])
    )
    assert calibrated == pytest.approx(0.0)
    assert expected_calibration_error(
        torch.tensor([0.91, 0.95, 1.0, 0.92]), torch.tensor([1, 0, 0, 1])
    ) == pytest.approx(3.78 / 4 - 0.5)
    # two bins: 0.2 and 0.3 below a half, 0.8 above
    two = expected_calibration_error(torch.tensor([0.2, 0.3, 0.8]), torch.tensor([1, 0, 1]), num_bins=2)
    assert two == pytest.approx((abs(0.5 - 1.0) + 0.2) / 3)
    # ten bins by default: 0.05 and 0.15 are apart and do not cancel
    assert expected_calibration_error(torch.tensor([0.05, 0.15]), torch.tensor([0, 1])) == pytest.approx(
        (0.05 + 0.85) / 2
    )
    assert expected_calibration_error(torch.tensor([0.85, 0.95]), torch.tensor([1, 0])) == pytest.approx(
        (0.15 + 0.95) / 2
    )
    # and no more than ten: 0.51 and 0.59 share one and cancel, but for 0.1 over two examples
    assert expected_calibration_error(torch.tensor([0.51, 0.59]), torch.tensor([0, 1])) == pytest.approx(0.05)
    assert math.isnan(expected_calibration_error(torch.zeros(0), torch.zeros(0)))
