import math

import pytest
import torch

from learner.algorithms.kl import bounded_exp, kl_estimate

LOGPS, REFERENCE = torch.tensor([[-1.0, -3.0]]), torch.tensor([[-1.5, -2.0]])  # x = 0.5, -1


def test_estimates_by_hand() -> None:
    assert kl_estimate(LOGPS, REFERENCE, "k1").tolist() == [[0.5, -1.0]]
    assert kl_estimate(LOGPS, REFERENCE, "k2").tolist() == [[0.125, 0.5]]
    k3 = [math.exp(-0.5) + 0.5 - 1, math.e - 2]
    assert kl_estimate(LOGPS, REFERENCE, "k3")[0].tolist() == pytest.approx(k3)
    corrected = kl_estimate(LOGPS, REFERENCE, "corrected_k3", old_logps=LOGPS - 0.2)[0]
    assert corrected.tolist() == pytest.approx([x * math.exp(0.2) for x in k3])


def test_no_estimate_of_no_difference() -> None:
    for kind in ("k1", "k2", "k3", "corrected_k3"):
        assert kl_estimate(LOGPS, LOGPS, kind, old_logps=LOGPS).tolist() == [[0.0, 0.0]]  # type: ignore[arg-type]


def test_the_reference_and_the_old_policy_carry_no_gradient() -> None:
    logps, reference, old = (torch.zeros(1, 2, requires_grad=True) for _ in range(3))
    kl_estimate(logps, reference, "corrected_k3", old_logps=old).sum().backward()
    assert reference.grad is None
    assert old.grad is None


def test_exponents_are_bounded() -> None:
    assert bounded_exp(torch.tensor([-100.0, 0.0, 100.0])).tolist() == pytest.approx([math.exp(-20), 1.0, math.exp(20)])


def test_what_cannot_be_estimated_is_refused() -> None:
    with pytest.raises(ValueError, match="needs old_logps"):
        kl_estimate(LOGPS, REFERENCE, "corrected_k3")
    with pytest.raises(ValueError, match="unknown KL estimate 'k4'"):
        kl_estimate(LOGPS, REFERENCE, "k4")  # type: ignore[arg-type]
