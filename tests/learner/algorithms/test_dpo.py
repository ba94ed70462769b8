import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from learner.algorithms.dpo import (
    PAIR_KINDS,
    PairLengths,
    PairLogps,
    dpop_loss,
    length_regularized_loss,
    pair_loss,
    pair_metrics,
    simpo_loss,
)

EQUAL = PairLogps(torch.tensor([-5.0, -7.0]), torch.tensor([-6.0, -2.0]))
REFERENCE = PairLogps(torch.tensor([-5.5, -6.0]), torch.tensor([-7.0, -2.5]))
LENGTHS = PairLengths(torch.tensor([3, 5]), torch.tensor([4, 2]))
# h = (0.5, -1.0) and (1.0, 0.5), margins (-0.5, -1.5)


def values(kind: Any, **more: Any) -> Tensor:
    return pair_loss(kind, EQUAL, REFERENCE, LENGTHS, **({"beta": 0.2} | more))[0]


def test_loss_where_the_policy_equals_its_reference() -> None:
    expected = {kind: math.log(2) for kind in PAIR_KINDS} | {"ipo": 1 / (4 * 0.2**2), "hinge": 1.0, "apo_zero": 1.0}
    del expected["simpo"]  # has no reference
    for kind, value in expected.items():
        got, _ = pair_loss(kind, EQUAL, EQUAL, PairLengths(LENGTHS.chosen, LENGTHS.chosen), beta=0.2, flip_rate=0.0)
        assert got.tolist() == pytest.approx([value, value]), kind


def test_values_by_hand() -> None:
    assert values("sigmoid").tolist() == pytest.approx([math.log1p(math.exp(0.1)), math.log1p(math.exp(0.3))])
    assert values("hinge").tolist() == pytest.approx([1.1, 1.3])
    assert values("ipo").tolist() == pytest.approx([(0.5 / 3 - 1 / 4 - 2.5) ** 2, (-1 / 5 - 0.5 / 2 - 2.5) ** 2])
    assert values("length_normalized").tolist() == pytest.approx(
        [math.log1p(math.exp(-0.2 * (0.5 / 3 - 1 / 4))), math.log1p(math.exp(0.2 * (1 / 5 + 0.5 / 2)))]
    )


def test_simpo_has_its_target_margin() -> None:
    x = 2.0 * (EQUAL.chosen / LENGTHS.chosen - EQUAL.rejected / LENGTHS.rejected) - 0.3
    torch.testing.assert_close(simpo_loss(EQUAL, LENGTHS, beta=2.0, gamma=0.3, flip_rate=0.0), -F.logsigmoid(x))
    torch.testing.assert_close(values("simpo", beta=2.0), -F.logsigmoid(x + 0.3 - 1.0))  # the default gamma is 1


def test_dpo_positive_penalizes_a_chosen_completion_that_falls() -> None:
    expected = -F.logsigmoid(0.2 * torch.tensor([-0.5, -1.5 - 7.0 * 1.0]))
    torch.testing.assert_close(dpop_loss(EQUAL, REFERENCE, beta=0.2, penalty=7.0, flip_rate=0.0), expected)
    torch.testing.assert_close(values("dpop"), -F.logsigmoid(0.2 * torch.tensor([-0.5, -1.5 - 5.0])))


def test_length_regularized_needs_less_margin_for_a_longer_chosen_completion() -> None:
    expected = -F.logsigmoid(torch.tensor([-0.1, -0.3]) + 0.5 * torch.tensor([-1.0, 3.0]))
    torch.testing.assert_close(
        length_regularized_loss(EQUAL, REFERENCE, LENGTHS, beta=0.2, length_alpha=0.5, flip_rate=0.0), expected
    )
    torch.testing.assert_close(values("length_regularized"), -F.logsigmoid(torch.tensor([-0.1 - 0.01, -0.3 + 0.03])))


@pytest.mark.parametrize("kind", ["sigmoid", "ipo", "hinge", "length_normalized", "apo_zero"])
def test_a_flip_rate_is_the_expectation_over_both_labels(kind: Any) -> None:
    eps = torch.tensor([0.1, 0.4])
    swapped, _ = pair_loss(
        kind, PairLogps(*EQUAL[::-1]), PairLogps(*REFERENCE[::-1]), PairLengths(*LENGTHS[::-1]), beta=0.2
    )
    torch.testing.assert_close(values(kind, flip_rate=eps), (1 - eps) * values(kind) + eps * swapped)


@pytest.mark.parametrize("kind", ["simpo", "dpop", "length_regularized"])
def test_a_flip_rate_is_a_wrong_label_on_the_same_logit(kind: Any) -> None:
    logit = -torch.log(torch.expm1(values(kind)))  # of -log sigmoid(x)
    torch.testing.assert_close(
        values(kind, flip_rate=0.2), -0.8 * F.logsigmoid(logit) - 0.2 * F.logsigmoid(-logit), atol=1e-5, rtol=1e-5
    )


def test_every_kind_is_computed_and_another_refused() -> None:
    for kind in PAIR_KINDS:
        assert values(kind).shape == (2,)
    with pytest.raises(ValueError, match="unknown pair loss 'bco'"):
        values("bco")


def test_no_gradient_reaches_the_reference_and_an_empty_completion_is_finite() -> None:
    reference = PairLogps(torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True))
    policy = PairLogps(torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True))
    lengths = PairLengths(torch.tensor([0]), torch.tensor([2]))
    for kind in PAIR_KINDS:
        loss = pair_loss(kind, policy, reference, lengths, beta=0.2)[0].sum()
        assert loss.isfinite()
        loss.backward()
    assert reference.chosen.grad is None
    assert policy.chosen.grad is not None


def test_metrics() -> None:
    assert pair_metrics(EQUAL, REFERENCE) == pytest.approx(
        {"pair/margin": -1.0, "pair/accuracy": 0.0, "pair/chosen_log_ratio": -0.25, "pair/rejected_log_ratio": 0.75}
    )
    assert pair_metrics(REFERENCE, EQUAL)["pair/accuracy"] == 1.0
    assert pair_metrics(EQUAL, EQUAL)["pair/accuracy"] == 0.0
    assert pair_metrics(PairLogps(torch.zeros(0), torch.zeros(0)), PairLogps(torch.zeros(0), torch.zeros(0))) == {}
