import pytest
import torch

from learner.algorithms.kto import KlBaseline, apo_zero_unpaired_loss, kto_loss, mismatches

LOGPS, REFERENCE = torch.tensor([-5.0, -7.0, -3.0]), torch.tensor([-6.0, -5.0, -3.5])  # h = 1, -2, 0.5
UP = torch.tensor([True, False, False])


def test_values_by_hand() -> None:
    values, metrics = kto_loss(LOGPS, REFERENCE, UP, 0.4, beta=0.5, up_weight=1.0, down_weight=2.0)
    h = torch.tensor([1.0, -2.0, 0.5])
    expected = torch.stack([1 - torch.sigmoid(0.5 * (h[0] - 0.4)), *(2 * (1 - torch.sigmoid(0.5 * (0.4 - h[1:]))))])
    torch.testing.assert_close(values, expected)
    assert metrics == pytest.approx({"thumb/up_share": 1 / 3, "thumb/up_log_ratio": 1.0, "thumb/down_log_ratio": -0.75})
    plain, _ = kto_loss(LOGPS, REFERENCE, UP, torch.tensor(0.4), beta=0.5)
    torch.testing.assert_close(plain, expected / torch.tensor([1.0, 2.0, 2.0]))


def test_apo_zero_needs_no_baseline() -> None:
    values, _ = apo_zero_unpaired_loss(LOGPS, REFERENCE, UP, beta=0.5)
    torch.testing.assert_close(values, kto_loss(LOGPS, REFERENCE, UP, 0.0, beta=0.5)[0])
    heavy, _ = apo_zero_unpaired_loss(LOGPS, REFERENCE, UP, beta=0.5, up_weight=3.0, down_weight=2.0)
    torch.testing.assert_close(heavy, values * torch.tensor([3.0, 2.0, 2.0]))


def test_up_and_down_mirror_each_other() -> None:
    up, _ = kto_loss(LOGPS, REFERENCE, torch.ones(3, dtype=torch.bool), 0.0, beta=0.5)
    down, _ = kto_loss(REFERENCE, LOGPS, torch.zeros(3, dtype=torch.bool), 0.0, beta=0.5)
    torch.testing.assert_close(up, down)


def test_no_gradient_reaches_baseline_or_reference() -> None:
    logps, reference, z0 = (
        LOGPS.clone().requires_grad_(),
        REFERENCE.clone().requires_grad_(),
        torch.tensor(0.3, requires_grad=True),
    )
    kto_loss(logps, reference, UP, z0, beta=0.5)[0].sum().backward()
    assert reference.grad is None
    assert z0.grad is None
    assert logps.grad is not None


def test_one_sided_and_empty_batches() -> None:
    _, ups = kto_loss(LOGPS, REFERENCE, torch.ones(3, dtype=torch.bool), 0.0, beta=0.5)
    assert ups == pytest.approx({"thumb/up_share": 1.0, "thumb/up_log_ratio": -1 / 6})
    _, downs = kto_loss(LOGPS, REFERENCE, torch.zeros(3, dtype=torch.bool), 0.0, beta=0.5)
    assert downs == pytest.approx({"thumb/up_share": 0.0, "thumb/down_log_ratio": -1 / 6})
    values, metrics = kto_loss(torch.zeros(0), torch.zeros(0), torch.zeros(0, dtype=torch.bool), 0.0, beta=0.5)
    assert values.shape == (0,)
    assert metrics == {}


def test_the_baseline_follows_slowly_and_is_never_negative() -> None:
    start = KlBaseline()
    assert start.z0 == 0.0
    once = start.updated(16.0, 8)
    assert once.z0 == pytest.approx(0.2)
    assert once.updated(16.0, 8).z0 == pytest.approx(0.9 * 0.2 + 0.1 * 2.0)
    assert once.updated(700.0, 7) == once
    assert once.updated(4.0, 1, decay=0.5, min_count=1).z0 == pytest.approx(2.1)
    assert start.updated(-16.0, 8).value == pytest.approx(-0.2)
    assert start.updated(-16.0, 8).z0 == 0.0


@pytest.mark.parametrize("prompts", [list("abcdefgh"), list("aabbccdd"), list("aaabbc"), list("aaaabbbb")])
def test_every_completion_is_paired_with_another_prompt(prompts: list[str]) -> None:
    for seed in range(20):
        paired = mismatches(prompts, seed)
        assert sorted(i for i, _ in paired) == list(range(len(prompts)))
        assert sorted(j for _, j in paired) == list(range(len(prompts)))
        assert all(prompts[i] != prompts[j] for i, j in paired)
    assert len({tuple(mismatches(prompts, seed)) for seed in range(20)}) > 1


def test_an_example_without_another_prompt_is_not_paired() -> None:
    assert mismatches(["a"], 0) == []
    assert mismatches([], 0) == []
    assert mismatches(["a", "a"], 0) == []
    crowded = mismatches(["a", "a", "a", "b"], 0)
    assert all({i, j} & {3} for i, j in crowded)
    assert len(crowded) == 2
    assert mismatches(list("abcabc"), 5) == mismatches(list("abcabc"), 5)
