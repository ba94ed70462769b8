"""Passes that begin at the first trained layer, against passes through the whole model: values and gradients."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from policy.logprobs import begin_at_layer, response_logps, run_layout, score_rows
from policy.lower_layers import LowerLayers, attach, layers_of, lower_layers_of
from policy.row_layout import Row
from tests.models import tiny_config

ROWS = [
    Row([1, 4, 100, 101, 102, 5], [[110, 111, 112, 2], [120, 2], [130, 131, 132, 133, 134, 135, 2]]),
    Row([1, 4, 90, 5], [[140, 141, 142, 143, 2]]),
    Row([1], [[150], [151, 152]]),
]
SHAPES = ["llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2"]
FIRST = 2  # of four layers


def fresh(shape: str) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config(shape, num_hidden_layers=4), dtype=torch.float32).eval()
    layers = layers_of(model)
    assert layers is not None
    model.requires_grad_(False)
    layers[FIRST:].requires_grad_(True)
    return model


def begun(model: Any) -> LowerLayers:
    lower = begin_at_layer(model, FIRST)
    assert lower is not None
    lower.num_passes = 0
    return lower


@pytest.mark.parametrize("shape", SHAPES)
def test_log_probabilities_and_gradients_equal_those_of_the_whole_model(shape: str) -> None:
    weights = torch.tensor([0.3, -1.0, 0.7, 1.0, -0.5, 0.2])

    def computed(model: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        packed = response_logps(model, ROWS)
        torch.autograd.backward((packed.sums() * weights).sum())
        grads = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
        model.zero_grad()
        return [values.detach() for values in packed.split()], grads

    model = fresh(shape)
    whole, whole_grads = computed(model)
    lower = begun(model)
    for _ in range(2):  # computed now, and kept from before
        parts, grads = computed(model)
        torch.testing.assert_close(parts, whole, rtol=0, atol=2e-5)
        torch.testing.assert_close(grads, whole_grads, rtol=1e-4, atol=1e-6)
    assert len(grads) == len(whole_grads) > 0
    assert lower.num_passes == len(ROWS)


def test_completions_are_kept_apart_from_the_rows_they_came_in() -> None:
    model = fresh("llama")
    pair = Row([1, 4, 9, 5], [[20, 21, 2], [30, 31, 32, 2]])
    alone = [Row(pair.prompt_ids, [branch]) for branch in pair.branches]
    whole = score_rows(model, [pair])[0]
    lower = begun(model)
    apart = [score_rows(model, [row])[0][0] for row in alone]
    assert lower.num_passes == 2
    together = score_rows(model, [pair])[0]
    assert lower.num_passes == 2  # both completions and their prompt are there
    torch.testing.assert_close(apart, whole, rtol=0, atol=2e-5)
    torch.testing.assert_close(together, whole, rtol=0, atol=2e-5)


def test_states_of_other_weights_are_kept_apart_and_the_oldest_are_dropped() -> None:
    model = fresh("llama")
    lower = begun(model)
    before = score_rows(model, ROWS)
    layers = layers_of(model)
    assert layers is not None
    with torch.no_grad():
        next(layers[0].parameters()).add_(0.5)
    lower.weights = b"other"
    after = score_rows(model, ROWS)
    attach(model, None)
    torch.testing.assert_close(after, score_rows(model, ROWS), rtol=0, atol=2e-5)
    assert any((one[0] - other[0]).abs().max() > 1e-3 for one, other in zip(before, after, strict=True))
    small = LowerLayers(model, FIRST, most_bytes=1)
    attach(model, small)
    torch.testing.assert_close(score_rows(model, ROWS), after, rtol=0, atol=2e-5)
    score_rows(model, ROWS)
    assert small.num_passes == 2 * len(ROWS)  # nothing fits
    small.pin(model, ROWS, run_layout)
    small.num_passes = 0
    score_rows(model, ROWS)
    assert small.num_passes == 0


def test_a_model_whose_layers_cannot_be_run_apart_is_computed_as_a_whole(caplog: pytest.LogCaptureFixture) -> None:
    model = fresh("llama")
    assert begin_at_layer(model, 9) is None  # it has four layers
    layers = layers_of(model)
    assert layers is not None
    first_layers: list[torch.Tensor] = []
    layers[0].register_forward_hook(lambda *seen: first_layers.append(seen[2]))
    layers[FIRST + 1].register_forward_pre_hook(lambda _, states: (states[0] + first_layers[-1], *states[1:]))
    whole = score_rows(model, ROWS)
    assert begin_at_layer(model, FIRST) is None
    assert "all layers are computed" in caplog.text
    assert lower_layers_of(model) is None
    torch.testing.assert_close(score_rows(model, ROWS), whole)
