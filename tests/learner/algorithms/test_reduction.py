import pytest
import torch

from learner.algorithms.precision import plain_floats, working
from learner.algorithms.reduction import Term, combine, sequence_sums, token_weights


def test_each_term_is_its_weighted_sum_over_the_total_of_the_update() -> None:
    loss, shares = combine(
        [
            Term("a", torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]), 10.0),
            Term("b", torch.tensor([5.0]), torch.tensor([1.0]), 2.0, scale=0.2),
            Term("a", torch.tensor([1.0]), torch.tensor([1.0]), 10.0),
        ]
    )
    assert loss.shape == ()
    assert loss.item() == pytest.approx(1.1 + 0.5 + 0.1)
    assert shares == pytest.approx({"loss/a": 1.2, "loss/b": 0.5})


def test_weights_carry_no_gradient() -> None:
    values, weights = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    combine([Term("a", values, weights, 2.0)])[0].backward()
    assert weights.grad is None
    assert values.grad is not None
    assert values.grad.tolist() == [0.5, 0.5]


def test_a_total_of_zero_is_refused_where_examples_have_a_weight() -> None:
    with pytest.raises(ValueError, match="total weight is 0"):
        combine([Term("a", torch.ones(1), torch.ones(1), 0.0)])
    with pytest.raises(ValueError, match="total weight is nan"):
        combine([Term("a", torch.ones(1), torch.ones(1), float("nan"))])


def test_a_total_below_one_is_a_total() -> None:
    loss, _ = combine([Term("a", torch.tensor([3.0]), torch.tensor([0.25]), 0.5)])
    assert loss.item() == pytest.approx(1.5)


def test_rows_without_weight_are_zero_with_a_live_graph() -> None:
    values = torch.ones(2, requires_grad=True)
    loss, _ = combine([Term("a", values, torch.zeros(2), 0.0)])
    loss.backward()
    assert loss.item() == 0.0
    assert values.grad is not None
    assert values.grad.tolist() == [0.0, 0.0]


def test_shapes_must_agree_and_there_must_be_something() -> None:
    with pytest.raises(ValueError, match=r"pair: values \(2,\) and weights \(1,\)"):
        combine([Term("pair", torch.ones(2), torch.ones(1), 1.0)])
    with pytest.raises(ValueError, match="no term"):
        combine([])


def test_tokens_are_summed_by_completion() -> None:
    sums = sequence_sums(torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([2, 0, 2, 0]), 4)
    assert sums.tolist() == [10.0, 0.0, 5.0, 0.0]


def test_reductions_weigh_tokens() -> None:
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]])
    assert token_weights(mask, "grpo").tolist() == [[0.25] * 4, [1.0, 0, 0, 0], [0.0] * 4]
    for how in ("dapo", "dr_grpo"):
        assert token_weights(mask, how).tolist() == mask.tolist()  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown reduction 'mean'"):
        token_weights(mask, "mean")  # type: ignore[arg-type]


def test_precision() -> None:
    assert working(torch.ones(1, dtype=torch.bfloat16)).dtype == torch.float32
    assert working(torch.ones(1, dtype=torch.long)).dtype == torch.float32
    assert working(torch.ones(1, dtype=torch.float64)).dtype == torch.float64
    assert plain_floats({"a": torch.tensor(1.5, requires_grad=True), "b": torch.tensor(2)}) == {"a": 1.5, "b": 2.0}
    assert plain_floats({}) == {}
