"""A frozen LM head in parts, against all its logits at once: values and gradients."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import policy.head_logps as head_logps_module
import policy.logprobs as logprobs
from policy.head_logps import can_take, head_logps
from policy.logprobs import response_logps, token_values
from policy.row_layout import Row
from tests.models import tiny_config

ROWS = [Row([1, 4, 100, 5], [[110, 111, 112, 2], [120, 2]]), Row([1], [[150], [151, 152]])]


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_values_and_gradients_equal_those_of_all_logits(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_logps_module, "PART_BYTES", 4 * 50 * 3)  # three tokens at a time
    torch.manual_seed(0)
    hidden = torch.randn(7, 8, dtype=torch.float64, requires_grad=True)
    weight, target = torch.randn(50, 8, dtype=torch.float64), torch.randint(50, (7,))
    force = torch.randn(7, dtype=torch.float64)
    ours = head_logps(hidden, weight, target, scale)
    plain = (scale * hidden @ weight.T).log_softmax(-1).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(ours, plain)
    slopes = [torch.autograd.grad((force * logps).sum(), hidden)[0] for logps in (ours, plain)]
    torch.testing.assert_close(slopes[0], slopes[1])
    with torch.no_grad():
        torch.testing.assert_close(head_logps(hidden, weight, target, scale), plain)


@pytest.mark.parametrize("shape", ["llama", "qwen3", "gemma2"])  # gemma2 caps its logits: they are computed as before
def test_a_model_with_a_frozen_head_gives_what_it_gives_at_once(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(tiny_config(shape), dtype=torch.float64).eval()
    model.get_input_embeddings().weight.requires_grad_(False)
    model.get_output_embeddings().weight.requires_grad_(False)
    calls: list[int] = []
    monkeypatch.setattr(logprobs, "head_logps", lambda *given: calls.append(1) or head_logps(*given))

    def computed() -> tuple[torch.Tensor, list[torch.Tensor]]:
        packed = response_logps(model, ROWS, temperature=0.7)
        torch.autograd.backward(packed.sums().square().sum())
        grads = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
        model.zero_grad()
        return packed.logp.detach(), grads

    whole, whole_grads = computed()
    monkeypatch.setattr(logprobs, "PARTS_FROM", 1)
    parts, grads = computed()
    assert bool(calls) == (shape != "gemma2")
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(grads, whole_grads)


def test_a_head_that_is_trained_or_adapted_is_left_to_autograd() -> None:
    head = torch.nn.Linear(4, 9, bias=False)
    assert not can_take(head)
    assert can_take(head.requires_grad_(False))
    assert not can_take(torch.nn.Linear(4, 9).requires_grad_(False))
    assert not can_take(torch.nn.Sequential(head))


def test_any_value_of_the_logits_is_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(tiny_config("llama"), dtype=torch.float64).eval()
    model.get_output_embeddings().weight.requires_grad_(False)
    model.get_input_embeddings().weight.requires_grad_(False)
    rows = [Row([1, 4, 100, 5], [[110, 111, 112, 2]]), Row([1], [[150, 7]])]
    other = torch.randn(6, 5, dtype=torch.float64)
    sizes: list[int] = []

    def value(logits: torch.Tensor, part: slice) -> torch.Tensor:
        sizes.append(len(logits))
        return (logits.log_softmax(-1)[:, :5] * other[part]).sum(-1)

    def computed() -> tuple[torch.Tensor, list[torch.Tensor]]:
        values = token_values(model, rows, value)
        torch.autograd.backward(values.square().sum())
        grads = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
        model.zero_grad()
        return values.detach(), grads

    whole, whole_grads = computed()
    monkeypatch.setattr(logprobs, "PARTS_FROM", 1)
    monkeypatch.setattr(head_logps_module, "PART_BYTES", 4 * 2 * model.config.vocab_size)
    parts, grads = computed()
    assert sizes == [6, 2, 2, 2]
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(grads, whole_grads)
