import pytest
import torch

from learner.algorithms.ppo import ValueHead, adapted_kl_weight, advantages_and_returns, token_rewards, value_loss

MASK = torch.tensor([[1, 1, 1], [0, 1, 0], [0, 0, 0]])
LOGPS = torch.tensor([[-1.0, -2.0, -3.0], [9.0, -1.0, 9.0], [9.0, 9.0, 9.0]])
REFERENCE = torch.tensor([[-1.5, -1.0, -3.0], [0.0, -3.0, 0.0], [0.0, 0.0, 0.0]])
SCORES = torch.tensor([2.0, -1.0, 5.0])


def test_rewards_are_a_penalty_per_token_and_the_score_on_the_last() -> None:
    rewards = token_rewards(SCORES, LOGPS, REFERENCE, MASK, kl_weight=0.1)
    expected = torch.tensor([[-0.05, 0.1, 2.0], [0.0, -0.2 - 1.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(rewards, expected)
    assert not token_rewards(SCORES.requires_grad_(), LOGPS, REFERENCE, MASK, kl_weight=0.1).requires_grad


def test_advantages_by_default_are_undiscounted_and_carry_no_gradient() -> None:
    rewards, values = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.2]], requires_grad=True)
    advantages, returns = advantages_and_returns(rewards, values, torch.ones(1, 2))
    assert advantages[0].tolist() == pytest.approx([0.2 - 0.5 + 0.95 * 0.8, 0.8])
    assert returns[0].tolist() == pytest.approx([0.2 + 0.95 * 0.8, 1.0])
    assert not advantages.requires_grad
    assert not returns.requires_grad


def test_value_loss_is_the_larger_of_clipped_and_not() -> None:
    values, old = torch.tensor([[1.0, 1.0, 0.1]]), torch.tensor([[0.0, 0.0, 0.0]])
    returns, mask = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[1, 1, 1]])
    loss, metrics = value_loss(values, old, returns, mask, clip=0.2)
    assert loss[0].tolist() == pytest.approx([0.5 * 1.8**2, 0.5, 0.5 * 0.81])
    assert metrics["value/loss"] == pytest.approx((0.5 * 1.8**2 + 0.5 + 0.5 * 0.81) / 3)
    assert metrics["value/explained"] == pytest.approx(1 - (5 / 3) / (2 / 3))
    wide, _ = value_loss(values, old, returns, mask, clip=5.0)
    assert wide[0].tolist() == pytest.approx([0.5, 0.5, 0.5 * 0.81])


def test_a_completion_of_one_token_has_an_advantage() -> None:
    advantages, returns = advantages_and_returns(torch.tensor([[2.0]]), torch.tensor([[0.5]]), torch.ones(1, 1))
    assert advantages.tolist() == [[1.5]]
    assert returns.tolist() == [[2.0]]


def test_value_loss_where_the_value_is_too_high() -> None:
    values, returns = torch.tensor([[3.0, -0.1]]), torch.tensor([[1.0, -2.0]])
    loss, _ = value_loss(values, torch.zeros(1, 2), returns, torch.ones(1, 2), clip=0.2)
    assert loss[0].tolist() == pytest.approx([0.5 * 4.0, 0.5 * 1.9**2])


def test_value_loss_outside_the_mask() -> None:
    values = torch.ones(1, 3, requires_grad=True)
    mask = torch.tensor([[1, 1, 0]])
    loss, metrics = value_loss(values, torch.zeros(1, 3), torch.tensor([[3.0, 3.0, 3.0]]), mask, clip=0.2)
    loss.sum().backward()
    assert values.grad is not None
    assert values.grad[0, 2] == 0.0
    assert metrics == {
        "value/loss": pytest.approx(0.5 * 2.8**2),
        "value/explained": 0.0,
    }  # equal returns: nothing to explain
    perfect, seen = value_loss(values, torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[1.0, 2.0, 3.0]]), mask, clip=0.2)
    assert seen["value/explained"] == 1.0
    assert perfect.shape == (1, 3)
    _, nothing = value_loss(values, values, values, torch.zeros(1, 3), clip=0.2)
    assert nothing == {"value/loss": 0.0, "value/explained": 0.0}
    _, single = value_loss(torch.ones(1, 1), torch.ones(1, 1), torch.zeros(1, 1), torch.ones(1, 1), clip=0.2)
    assert single["value/loss"] == 0.5


def test_the_value_head_starts_at_zero_and_learns() -> None:
    torch.manual_seed(0)
    head, hidden = ValueHead(4), torch.randn(2, 3, 4)
    assert head(hidden).shape == (2, 3)
    assert head(hidden.bfloat16()).abs().max() == 0.0
    ((head(hidden) - 1.0) ** 2).mean().backward()
    assert head.outer.weight.grad is not None
    assert head.outer.weight.grad.abs().max() > 0
    assert sum(p.numel() for p in head.parameters()) == 4 * 4 + 4 + 4 + 1


def test_the_kl_weight_follows_the_kl() -> None:
    slow = {"num_sequences": 1000, "horizon": 10_000.0}
    assert adapted_kl_weight(0.1, 6.6, target=6.0, **slow) == pytest.approx(0.1 * 1.01)  # type: ignore[arg-type]
    assert adapted_kl_weight(0.1, 60.0, target=6.0, **slow) == pytest.approx(0.1 * 1.02)  # type: ignore[arg-type]
    assert adapted_kl_weight(0.1, 0.0, target=6.0, num_sequences=1000, horizon=1000.0) == pytest.approx(0.1 * 0.8)
    assert adapted_kl_weight(0.1, 0.5, target=0.5, **slow) == 0.1  # type: ignore[arg-type]  # a target below a nat is one, too
    with pytest.raises(ValueError, match="KL target is 0.0"):
        adapted_kl_weight(0.1, 1.0, target=0.0, num_sequences=1, horizon=1.0)
