"""Attention in parts against attention under the whole mask: values and gradients, per architecture."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import policy.shared_prefix_attention as shared_prefix_attention
from policy.logprobs import response_logps
from policy.row_layout import Row
from policy.shared_prefix_attention import SharedPrompts, is_worth_it
from tests.models import SHAPES
from tests.policy.test_logprobs import ROWS, fresh

GROUP = [
    Row(list(range(10, 22)), [list(range(30, 30 + length)) for length in (9, 4, 1, 16, 12, 0)]),
    Row([7, 8, 9], [[50, 51], [60, 61, 62]]),
]


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> list[SharedPrompts]:
    """Compute every packed row in parts; give the contexts, one for each forward pass."""
    used: list[SharedPrompts] = []
    start = SharedPrompts.__init__

    def noted(self: SharedPrompts, *args: Any) -> None:
        start(self, *args)
        used.append(self)

    monkeypatch.setattr(SharedPrompts, "__init__", noted)
    monkeypatch.setattr(shared_prefix_attention, "GAIN", 0.0)
    return used


def outcome(model: Any, rows: list[Row]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return log-probabilities and the gradients of a weighted sum of them."""
    model.zero_grad()
    logp = response_logps(model, rows).logp
    (logp * torch.linspace(-1.0, 1.0, len(logp))).sum().backward()
    return logp.detach(), [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("rows", [ROWS, GROUP], ids=["rows", "group"])
@pytest.mark.parametrize("shape", SHAPES)
def test_parts_equal_the_whole_mask(
    shape: str, rows: list[Row], always: list[SharedPrompts], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh(shape)
    seen, gradients = outcome(model, rows)
    in_parts = [part.num_calls for part in always]
    monkeypatch.setattr(shared_prefix_attention, "GAIN", float("inf"))
    expected, theirs = outcome(model, rows)
    assert len(always) == len(in_parts)
    if model.config._attn_implementation == "sdpa":
        assert in_parts[-1] == model.config.get_text_config().num_hidden_layers
    torch.testing.assert_close(seen, expected, rtol=0, atol=2e-5)
    for ours, other in zip(gradients, theirs, strict=True):
        assert (ours - other).norm() <= 1e-5 * (other.norm() + 1e-3)


def test_rows_of_many_completions_are_worth_it_and_pairs_are_not() -> None:
    assert is_worth_it([(64, [80] * 8)] * 2)
    assert not is_worth_it([(64, [80, 80])] * 8)
    assert not is_worth_it([(256, [16] * 8)])  # most of the mask is the prompt
    assert is_worth_it([(8, [30] * 4)])


def test_a_group_is_computed_in_parts_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = fresh(), []
    attend = SharedPrompts._attend
    monkeypatch.setattr(SharedPrompts, "_attend", lambda self, *args: calls.append(1) or attend(self, *args))
    response_logps(model, [Row([1, 2, 3], [[4] * 20 for _ in range(8)])])
    assert len(calls) == model.config.num_hidden_layers
    response_logps(model, [Row([1, 2, 3], [[4] * 20])])
    assert len(calls) == model.config.num_hidden_layers


def test_recomputed_activations_are_those_of_the_first_pass(always: list[SharedPrompts]) -> None:
    model = fresh().train()
    _, expected = outcome(model, GROUP)
    num_before = len(always)
    (
        getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    )()  # under its newer or its older name
    _, gradients = outcome(model, GROUP)
    assert len(always) == num_before  # the recomputation is outside the context
    for ours, other in zip(gradients, expected, strict=True):
        assert (ours - other).norm() <= 1e-5 * (other.norm() + 1e-3)


def test_another_mask_and_dropout_are_left_alone() -> None:
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool).tril()
    q, k, v = torch.randn(3, 1, 2, 4, 8, generator=torch.Generator().manual_seed(0)).unbind()
    with SharedPrompts(mask, [(2, [1, 1])]) as parts:
        same = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.clone())
        F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=0.5)
        assert parts.num_calls == 0
        F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=False)
        assert parts.num_calls == 1
    assert torch.equal(same, F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
