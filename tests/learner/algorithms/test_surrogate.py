import math

import pytest
import torch

from learner.algorithms.surrogate import clipped_objective, is_clipped, probability_ratio, surrogate_loss

MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])


def logs(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows).log()


OLD = logs([0.5, 0.5, 0.5], [0.5, 0.5, 1.0])
NEW = logs([0.5, 0.3, 0.7], [0.25, 0.75, 1.0])  # ratios 1, .6, 1.4 and .5, 1.5


def test_ratios() -> None:
    assert probability_ratio(NEW, OLD, MASK)[:, :2].tolist() == [pytest.approx([1.0, 0.6]), pytest.approx([0.5, 1.5])]
    means = probability_ratio(NEW, OLD, MASK, "sequence")
    assert means[0].tolist() == pytest.approx([(0.6 * 1.4) ** (1 / 3)] * 3)
    assert means[1].tolist() == pytest.approx([0.75**0.5] * 3)
    assert probability_ratio(NEW, OLD, MASK * 0, "sequence").tolist() == [[1.0] * 3] * 2
    with pytest.raises(ValueError, match="unknown ratio level 'word'"):
        probability_ratio(NEW, OLD, MASK, "word")  # type: ignore[arg-type]


def test_the_clip_is_pessimistic() -> None:
    ratio = torch.tensor([0.5, 1.1, 2.0])
    gains = clipped_objective(ratio, torch.tensor(1.0), eps_low=0.2, eps_high=0.3)
    assert gains.tolist() == pytest.approx([-0.5, -1.1, -1.3])
    losses = clipped_objective(ratio, torch.tensor(-1.0), eps_low=0.2, eps_high=0.3)
    assert losses.tolist() == pytest.approx([0.8, 1.1, 2.0])


def test_loss_by_hand() -> None:
    values, metrics = surrogate_loss(NEW, OLD, torch.tensor([2.0, -1.0]), MASK)
    assert values[0].tolist() == pytest.approx([-2.0, -1.2, -2 * 1.28])
    assert values[1].tolist() == pytest.approx([0.8, 1.5, 0.0])
    moved = [0.0, math.log(0.6), math.log(1.4), math.log(0.5), math.log(1.5)]
    k3 = sum(math.exp(x) - x - 1 for x in moved) / 5
    assert metrics == pytest.approx({"policy/ratio": 1.0, "policy/clip_share": 0.4, "policy/moved_kl": k3})


def test_every_token_may_have_its_advantage() -> None:
    values, _ = surrogate_loss(NEW, OLD, torch.tensor([[2.0, -1.0, 1.0], [1.0, 1.0, 1.0]]), MASK)
    assert values[0].tolist() == pytest.approx([-2.0, 0.8, -1.28])


def test_cispo_keeps_the_gradient_of_clipped_tokens() -> None:
    leaf = NEW.clone().requires_grad_()
    values, metrics = surrogate_loss(leaf, OLD, torch.tensor([2.0, -1.0]), MASK, kind="cispo", eps_high=1.2)
    values.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad[0].tolist() == pytest.approx([-2.0, -1.2, -2.4])
    assert leaf.grad[1].tolist() == pytest.approx([0.5, 1.2, 0.0])
    assert values[0, 1].item() == pytest.approx(-0.6 * 2.0 * math.log(0.3))
    assert metrics["policy/clip_share"] == pytest.approx(0.4)


def test_gradient_at_the_old_policy_is_reinforce() -> None:
    leaf = OLD.clone().requires_grad_()
    surrogate_loss(leaf, OLD, torch.tensor([2.0, -1.0]), MASK)[0].sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [[-2.0] * 3, [1.0, 1.0, 0.0]]


def test_clipped_tokens_have_no_gradient() -> None:
    leaf = logs([0.5, 0.9, 0.1]).requires_grad_()  # ratios 1, 1.8, .2
    surrogate_loss(leaf, OLD[:1], torch.tensor([1.0]), MASK[:1])[0].sum().backward()
    assert leaf.grad is not None
    assert leaf.grad[0].tolist() == pytest.approx([-1.0, 0.0, -0.2])


def test_another_kind_is_refused_and_an_empty_mask_is_no_error() -> None:
    with pytest.raises(ValueError, match="unknown surrogate 'trpo'"):
        surrogate_loss(NEW, OLD, torch.ones(2), MASK, kind="trpo")  # type: ignore[arg-type]
    _, metrics = surrogate_loss(NEW, OLD, torch.ones(2), MASK * 0)
    assert metrics == {"policy/ratio": 0.0, "policy/clip_share": 0.0, "policy/moved_kl": 0.0}


def test_a_ratio_is_clipped_beyond_the_bound_that_its_advantage_pushes_it_to() -> None:
    ratio = torch.tensor([0.79, 0.81, 1.29, 1.31])
    assert is_clipped(ratio, torch.tensor(0.5), eps_low=0.2, eps_high=0.3).tolist() == [False, False, False, True]
    assert is_clipped(ratio, torch.tensor(-0.5), eps_low=0.2, eps_high=0.3).tolist() == [True, False, False, False]
    leaf = ratio.clone().requires_grad_()
    for advantage in (0.5, -0.5):
        (slope,) = torch.autograd.grad(
            clipped_objective(leaf, torch.tensor(advantage), eps_low=0.2, eps_high=0.3).sum(), leaf
        )
        assert torch.equal(slope == 0, is_clipped(ratio, torch.tensor(advantage), eps_low=0.2, eps_high=0.3))


def test_what_counts_as_clipped() -> None:
    one, zero, mask = torch.zeros(1, 1), torch.zeros(1), torch.ones(1, 1)
    for advantage in (1.0, -1.0):  # on the bound is not beyond it
        assert (
            surrogate_loss(one, one, zero + advantage, mask, eps_low=0.0, eps_high=0.0)[1]["policy/clip_share"] == 0.0
        )
    for ratio in (0.5, 2.0):  # without an advantage there is nothing to clip
        assert surrogate_loss(one + math.log(ratio), one, zero, mask)[1] == pytest.approx(
            {"policy/ratio": ratio, "policy/clip_share": 0.0, "policy/moved_kl": ratio - 1 - math.log(ratio)}
        )
    assert surrogate_loss(one, one, zero, mask, kind="cispo", eps_high=1.0)[1]["policy/clip_share"] == 0.0
    assert surrogate_loss(one, one + 0.5, zero, mask, level="sequence")[1]["policy/ratio"] == pytest.approx(
        math.exp(-0.5)
    )
