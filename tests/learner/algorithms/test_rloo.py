import pytest
import torch

from learner.algorithms.rloo import leave_one_out_advantages, penalized_rewards, rloo_loss

BOUNDS = {"eps_low": 0.2, "eps_high": 0.2}


def test_each_completion_against_the_mean_of_the_others() -> None:
    rewards, groups = torch.tensor([1.0, 2.0, 6.0, 4.0, 0.0]), torch.tensor([0, 1, 0, 0, 2])
    expected = [1 - 5.0, 0.0, 6 - 2.5, 4 - 3.5, 0.0]
    assert leave_one_out_advantages(rewards.requires_grad_(), groups).tolist() == pytest.approx(expected)
    assert not leave_one_out_advantages(rewards, groups).requires_grad


def test_two_completions_are_measured_against_each_other() -> None:
    assert leave_one_out_advantages(torch.tensor([1.0, 4.0]), torch.tensor([0, 0])).tolist() == [-3.0, 3.0]


def test_the_kl_is_subtracted_from_the_score() -> None:
    logps, reference = torch.tensor([[-1.0, -2.0, 5.0]]), torch.tensor([[-2.0, -2.5, 0.0]])
    mask, scores = torch.tensor([[1, 1, 0]]), torch.tensor([3.0])
    assert penalized_rewards(scores, logps, reference, mask, kl_weight=0.05).item() == pytest.approx(3 - 0.05 * 1.5)
    assert penalized_rewards(scores, logps, reference, mask, kl_weight=1.0).item() == pytest.approx(1.5)


def test_loss_by_hand() -> None:
    ratios = torch.tensor([0.5, 1.0, 1.5, 1.5, 0.5])
    values, metrics = rloo_loss(ratios.log(), torch.zeros(5), torch.tensor([1.0, 2.0, 1.0, -1.0, -1.0]), **BOUNDS)
    assert values.tolist() == pytest.approx([-0.5, -2.0, -1.2, 1.5, 0.8])
    assert metrics == pytest.approx({"policy/ratio": 1.0, "policy/clip_share": 0.4})
    assert rloo_loss(torch.zeros(0), torch.zeros(0), torch.zeros(0), **BOUNDS)[1] == {}
    for advantage in (1.0, -1.0):  # on the bound is not beyond it
        on_bound = rloo_loss(torch.zeros(1), torch.zeros(1), torch.tensor([advantage]), eps_low=0.0, eps_high=0.0)
        assert on_bound[1]["policy/clip_share"] == 0.0
    assert rloo_loss(ratios.log(), torch.zeros(5), torch.zeros(5), **BOUNDS)[1]["policy/clip_share"] == 0.0
    wide, _ = rloo_loss(
        ratios.log(), torch.zeros(5), torch.tensor([1.0, 2.0, 1.0, -1.0, -1.0]), eps_low=0.4, eps_high=0.6
    )
    assert wide.tolist() == pytest.approx([-0.5, -2.0, -1.5, 1.5, 0.6])


def test_gradient_at_the_old_policy_is_reinforce() -> None:
    logps, advantages = torch.tensor([-3.0, -4.0], requires_grad=True), torch.tensor([2.0, -1.0], requires_grad=True)
    rloo_loss(logps, logps, advantages, **BOUNDS)[0].sum().backward()
    assert logps.grad is not None
    assert logps.grad.tolist() == [-2.0, 1.0]
    assert advantages.grad is None
