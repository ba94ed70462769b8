import math

import pytest
import torch

from learner.algorithms.grpo import group_advantages, group_means, grpo_loss, has_contrast
from learner.algorithms.surrogate import surrogate_loss

REWARDS = torch.tensor([1.0, 5.0, 3.0, 4.0, 7.0, 5.0, 9.0])
GROUPS = torch.tensor([0, 2, 0, 2, 2, 2, 3])  # {1, 3}, none, {5, 4, 7, 5}, {9}


def test_means_of_groups_of_several_sizes_in_any_order() -> None:
    means, sizes = group_means(REWARDS, GROUPS)
    assert means.tolist() == pytest.approx([2, 5.25, 2, 5.25, 5.25, 5.25, 9])
    assert sizes.tolist() == [2, 4, 2, 4, 4, 4, 1]
    assert group_means(torch.zeros(0), torch.zeros(0, dtype=torch.long))[0].shape == (0,)


def test_advantages_within_a_group() -> None:
    std = {0: 2**0.5, 2: torch.tensor([5.0, 4, 7, 5]).std().item()}
    expected = [
        -1 / (std[0] + 1e-4),
        -0.25 / (std[2] + 1e-4),
        1 / (std[0] + 1e-4),
        -1.25 / (std[2] + 1e-4),
        1.75 / (std[2] + 1e-4),
    ]
    assert group_advantages(REWARDS, GROUPS, scale="group").tolist() == pytest.approx([*expected, expected[1], 0.0])
    near = group_advantages(torch.tensor([0.0, 1e-4]), torch.tensor([0, 0]), scale="group")
    assert near[1].item() == pytest.approx(0.5 / (1 + 0.5**0.5), rel=1e-3)


def test_other_scales() -> None:
    centered = torch.tensor([-1, -0.25, 1, -1.25, 1.75, -0.25, 0.0])
    torch.testing.assert_close(group_advantages(REWARDS, GROUPS, scale="none"), centered)
    torch.testing.assert_close(group_advantages(REWARDS, GROUPS, scale="batch"), centered / (REWARDS.std() + 1e-4))
    one = torch.tensor([3.0]), torch.tensor([0])
    assert [group_advantages(*one, scale=scale).item() for scale in ("group", "batch", "none")] == [0.0] * 3  # type: ignore[arg-type]
    tiny = group_advantages(torch.tensor([0.0, 1e-4]), torch.tensor([0, 0]), scale="batch")[1].item()
    assert tiny == pytest.approx(0.5 / (1 + 0.5**0.5), rel=1e-3)
    with pytest.raises(ValueError, match="unknown advantage scale 'std'"):
        group_advantages(*one, scale="std")  # type: ignore[arg-type]


def test_groups_of_equal_rewards_have_no_contrast() -> None:
    assert has_contrast(REWARDS, GROUPS).tolist() == [True] * 6 + [False]
    assert has_contrast(torch.tensor([2.0, 2.0, 1.0, -3.0]), torch.tensor([0, 0, 1, 1])).tolist() == [
        False,
        False,
        True,
        True,
    ]
    assert has_contrast(torch.zeros(0), torch.zeros(0, dtype=torch.long)).tolist() == []


def test_the_kl_is_added_with_its_weight() -> None:
    logps, reference = torch.tensor([[-1.0, -3.0, 0.0]]), torch.tensor([[-1.5, -2.0, 7.0]])
    mask, advantages = torch.tensor([[1, 1, 0]]), torch.tensor([1.0])
    plain, few = surrogate_loss(logps, logps, advantages, mask)
    values, metrics = grpo_loss(logps, logps, reference, advantages, mask)
    k3 = [math.exp(-0.5) - 0.5, math.e - 2]
    assert (values - plain)[0].tolist() == pytest.approx([0.04 * k3[0], 0.04 * k3[1], 0.0], abs=1e-6)
    assert metrics == pytest.approx(few | {"policy/kl": sum(k3) / 2})
    other, _ = grpo_loss(logps, logps, reference, advantages, mask, kl_weight=0.5, kl_kind="k2")
    assert (other - plain)[0].tolist() == pytest.approx([0.0625, 0.25, 0.0])
    _, nothing = grpo_loss(logps, logps, reference, advantages, mask * 0)
    assert nothing["policy/kl"] == 0.0
    _, single = grpo_loss(logps[:, :1], logps[:, :1], reference[:, :1], advantages, mask[:, :1])
    assert single["policy/kl"] == pytest.approx(k3[0])


def test_without_a_kl_no_reference_is_needed_and_with_one_it_is() -> None:
    logps, mask = torch.tensor([[-1.0]]), torch.ones(1, 1)
    values, metrics = grpo_loss(logps, logps, None, torch.ones(1), mask, kl_weight=0.0)
    assert values.tolist() == [[-1.0]]
    assert "policy/kl" not in metrics
    with pytest.raises(ValueError, match="kl_weight is 0.04"):
        grpo_loss(logps, logps, None, torch.ones(1), mask)


def test_bounds_are_those_of_the_surrogate() -> None:
    old, mask = torch.tensor([0.5, 0.5, 0.5]).log()[None], torch.ones(1, 3)
    logps = torch.tensor([0.7, 0.35, 0.9]).log()[None]
    for advantage in (1.0, -1.0):
        a, _ = grpo_loss(logps, old, None, torch.tensor([advantage]), mask, kl_weight=0.0)
        b, _ = surrogate_loss(logps, old, torch.tensor([advantage]), mask, eps_low=0.2, eps_high=0.28)
        torch.testing.assert_close(a, b)
