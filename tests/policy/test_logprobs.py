"""Shared-prompt packing against the plain padded computation: values and gradients, per architecture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import policy.logprobs as logprobs
from policy.logprobs import can_pack, response_logps, score_rows
from policy.model import load_model
from policy.row_layout import Row
from tests.models import SHAPES, tiny_adapter, tiny_config, tiny_model

ROWS = [
    Row([1, 4, 100, 101, 102, 5], [[110, 111, 112, 2], [120, 2], [130, 131, 132, 133, 134, 135, 2]]),
    Row([1, 4, 90, 5], [[140, 141, 142, 143, 2]]),
    Row([1], [[150], [151, 152]]),
]


def plain_logps(model: Any, rows: Sequence[Row], temperature: float = 1.0) -> list[torch.Tensor]:
    """The plain computation: a forward pass for each branch, with all logits."""
    result = []
    for row in rows:
        for branch in row.branches:
            ids = torch.tensor([[*row.prompt_ids, *branch]])
            logps = (model(ids).logits[0, :-1].double() / temperature).log_softmax(-1)
            found = logps.gather(1, ids[0, 1:, None])[:, 0]
            result.append(found[len(row.prompt_ids) - 1 :])
    return result


def fresh(shape: str = "llama", **overrides: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(tiny_config(shape, **overrides), dtype=torch.float32).eval()


@pytest.mark.parametrize(
    ("shape", "attention"), [(s, a) for s in SHAPES for a in ("sdpa", "eager") if (s, a) != ("gemma2", "sdpa")]
)
def test_packed_rows_equal_one_sequence_per_completion(shape: str, attention: str) -> None:
    model = fresh(shape, attn_implementation=attention)
    packed = response_logps(model, ROWS)
    assert can_pack(model, 20)
    assert packed.num_branches == 6
    assert packed.lengths().tolist() == [4, 2, 7, 5, 1, 2]
    for ours, plain in zip(packed.split(), plain_logps(model, ROWS), strict=True):
        torch.testing.assert_close(ours.double(), plain, rtol=0, atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_equal_those_of_the_plain_computation(shape: str) -> None:
    weights = torch.tensor([0.3, -1.0, 0.7, 1.0, -0.5, 0.2])
    model = fresh(shape)
    (response_logps(model, ROWS).sums() * weights).sum().backward()
    ours = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    torch.stack(
        [weight * logps.sum() for weight, logps in zip(weights, plain_logps(model, ROWS), strict=True)]
    ).sum().backward()
    for seen, parameter in zip(ours, model.parameters(), strict=True):
        assert (seen - parameter.grad).norm() <= 1e-5 * (parameter.grad.norm() + 1e-3)


@pytest.mark.parametrize("want", [("logp",), ("logp", "entropy")])
def test_a_chunked_head_changes_nothing(want: Any) -> None:
    for shape in ("llama", "gemma2"):  # the second caps its logits
        model = fresh(shape)
        whole = response_logps(model, ROWS, want=want, temperature=0.7)
        whole.sums().sum().backward()
        expected = [parameter.grad.clone() for parameter in model.parameters()]
        model.zero_grad()
        chunked = response_logps(model, ROWS, want=want, temperature=0.7, chunk_bytes=4 * 320 * 3)
        chunked.sums().sum().backward()
        torch.testing.assert_close(chunked.logp, whole.logp, rtol=0, atol=5e-6)
        if "entropy" in want:
            torch.testing.assert_close(chunked.entropy, whole.entropy, rtol=0, atol=1e-5)
        for seen, parameter in zip(expected, model.parameters(), strict=True):
            torch.testing.assert_close(parameter.grad, seen, rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            torch.testing.assert_close(
                response_logps(model, ROWS, temperature=0.7, chunk_bytes=1).logp, whole.logp, rtol=0, atol=5e-6
            )


def test_an_unknown_head_is_left_to_the_model(caplog: pytest.LogCaptureFixture) -> None:
    model = fresh()
    forward = model.forward

    def odd(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        output.logits = 3.0 * output.logits
        return output

    model.forward = odd
    whole = response_logps(model, ROWS)
    chunked = response_logps(model, ROWS, chunk_bytes=4 * 320)
    assert "way of its own" in caplog.text
    torch.testing.assert_close(chunked.logp, whole.logp)
    assert response_logps(fresh(), ROWS).logp.sum().item() != pytest.approx(whole.logp.sum().item(), abs=1.0)


def test_entropy_logits_and_temperature() -> None:
    model = fresh()
    packed = response_logps(model, ROWS[1:2], temperature=0.5, want=("logp", "entropy", "logits"))
    ids = torch.tensor([[*ROWS[1].prompt_ids, *ROWS[1].branches[0]]])
    logits = model(ids).logits[0, 3:-1]
    torch.testing.assert_close(packed.logits, logits, rtol=0, atol=1e-5)
    logps = (logits / 0.5).log_softmax(-1)
    torch.testing.assert_close(packed.entropy, -(logps.exp() * logps).sum(-1), rtol=0, atol=1e-5)
    torch.testing.assert_close(packed.logp, logps.gather(1, ids[0, 4:, None])[:, 0], rtol=0, atol=1e-5)


def test_padding_changes_nothing() -> None:
    model = fresh()
    alone = response_logps(model, ROWS[2:]).logp
    longer = response_logps(model, [*ROWS[2:], Row([1] * 40, [[7] * 30, [8]])])
    torch.testing.assert_close(longer.logp[: len(alone)], alone, rtol=0, atol=5e-6)


def test_bfloat16_gives_float32_numbers_near_the_exact_ones() -> None:
    exact = response_logps(fresh(), ROWS).logp
    rough = response_logps(fresh().to(torch.bfloat16), ROWS).logp
    assert rough.dtype == torch.float32
    assert 1e-5 < (rough - exact).abs().max() < 0.3


def test_adapters_count_and_learn(tmp_path: Path) -> None:
    from peft import PeftModel

    folder = tiny_model(tmp_path / "model")
    adapter = tiny_adapter(folder, tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    before = response_logps(base, ROWS).logp.detach()
    model = PeftModel.from_pretrained(base, adapter, is_trainable=True).eval()
    packed = response_logps(model, ROWS)
    assert (packed.logp - before).abs().max() > 0.05
    for ours, plain in zip(packed.split(), plain_logps(model, ROWS), strict=True):
        torch.testing.assert_close(ours.double(), plain, rtol=0, atol=2e-5)
    packed.logp.sum().backward()
    still = [
        name
        for name, value in model.named_parameters()
        if value.requires_grad and (value.grad is None or not value.grad.abs().sum() > 0)
    ]
    assert not still


def test_a_sliding_window_shorter_than_the_row_is_respected() -> None:
    model = fresh("mistral", sliding_window=8)
    assert can_pack(model, 8)
    assert not can_pack(model, 9)
    for ours, plain in zip(response_logps(model, ROWS).split(), plain_logps(model, ROWS), strict=True):
        torch.testing.assert_close(ours.double(), plain, rtol=0, atol=2e-5)


def test_a_recurrent_model_gets_one_sequence_per_completion(caplog: pytest.LogCaptureFixture) -> None:
    from transformers import MambaConfig

    torch.manual_seed(0)
    config = MambaConfig(vocab_size=320, hidden_size=32, num_hidden_layers=2, state_size=8, initializer_range=0.2)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    packed = response_logps(model, ROWS)
    assert "a sequence of its own" in caplog.text
    for ours, plain in zip(packed.split(), plain_logps(model, ROWS), strict=True):
        torch.testing.assert_close(ours.double(), plain, rtol=0, atol=2e-5)


def test_training_mode_comes_back_after_the_trial() -> None:
    model = fresh().train()
    model.model.layers[0].eval()
    assert can_pack(model, 10)
    assert model.training
    assert model.model.layers[1].training
    assert not model.model.layers[0].training


def test_rows_with_nothing_to_score() -> None:
    model = fresh()
    empty = response_logps(model, [Row([1, 2], []), Row([1], [[]])])
    assert empty.num_branches == 1
    assert empty.sums().tolist() == [0.0]
    mixed = response_logps(model, [Row([1, 4], [[], [7, 8]])])
    assert mixed.lengths().tolist() == [0, 2]
    with pytest.raises(ValueError, match="no prompt"):
        response_logps(model, [Row([], [[1]])])


def test_scoring_in_buckets_keeps_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fresh()
    calls: list[int] = []
    real = logprobs.response_logps
    monkeypatch.setattr(
        logprobs, "response_logps", lambda *args, **kwargs: calls.append(len(args[1])) or real(*args, **kwargs)
    )
    scored = score_rows(model, ROWS * 3, token_budget=40)
    assert len(calls) > 2
    assert sum(calls) == 9
    plain = plain_logps(model, ROWS * 3)
    for ours, expected in zip([completion for row in scored for completion in row], plain, strict=True):
        torch.testing.assert_close(ours.double(), expected, rtol=0, atol=2e-5)


def test_half_precision_is_no_reason_to_keep_completions_apart(caplog: pytest.LogCaptureFixture) -> None:
    model = load_model("pocket-nano", "cpu")
    with torch.autocast("cpu", torch.bfloat16):  # as in training of full weights: float32 weights, bf16 products
        assert can_pack(model, 20)
        packed = response_logps(model, ROWS).sums()
        apart = torch.stack(
            [
                response_logps(model, [Row(row.prompt_ids, [branch])]).sums()[0]
                for row in ROWS
                for branch in row.branches
            ]
        )
    torch.testing.assert_close(packed, apart, rtol=0.02, atol=0.2)
    assert can_pack(model, 20)  # now in full precision
    assert "of its own" not in caplog.text
