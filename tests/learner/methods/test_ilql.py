"""ILQL as an update, on models that treat their logits each in its own way."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from learner.algorithms.ilql import QHeads
from learner.data.examples import CompletionTokens, Example
from learner.errors import CannotLearn
from learner.methods.ilql import (
    Logged,
    PolicyHead,
    head_backward,
    held_states,
    logged_replies,
    policy_head,
    shift_backward,
    shifted_distributions,
    train_ilql,
)
from learner.methods.mixed import Trained
from learner.model.anchors import with_distributions
from learner.model.resident import Resident
from learner.model.scoring import completion_logits
from learner.settings import LearnerSettings
from tests.learner.methods.test_on_policy import PROMPTS, judged, parts
from tests.learner.model.test_resident import written
from tests.models import SHAPES, tiny_model

Build = Callable[..., LearnerSettings]


@pytest.mark.parametrize("shape", SHAPES)
def test_q_learning_shifts_the_logits_that_the_model_has(shape: str, tmp_path: Path, make_settings: Build) -> None:
    capped = {"final_logit_softcapping": 5.0} if shape == "gemma2" else {}
    resident = Resident(make_settings(model=str(tiny_model(tmp_path / "model", shape, **capped)), q_beta=0.0))
    resident.become(None, 0)
    (known,) = logged_replies(
        resident,
        [Example("thumb", PROMPTS[0], CompletionTokens(tuple(range(60, 80))), None, "ann", ("t",), 1)],
        resident.settings,
    )
    through = policy_head(resident, known)
    heads = QHeads(resident.model.get_output_embeddings().weight.detach().float(), seed=0)
    (goal,) = shifted_distributions(
        resident, heads, through, [(known.prompt_ids, known.ids)], resident.settings
    )  # by nothing at q_beta 0
    with torch.no_grad():
        own = completion_logits(resident.model, [(known.prompt_ids, known.ids)]).log_softmax(-1)
    torch.testing.assert_close(own.gather(-1, goal.top.ids.long()), goal.top.logps.float(), rtol=0, atol=2e-3)


def test_q_learning_is_refused_where_logits_are_made_in_an_unknown_way(
    make_settings: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = Resident(make_settings())
    resident.become(None, 0)
    (known,) = logged_replies(
        resident,
        [Example("thumb", PROMPTS[0], CompletionTokens((60, 61, 2)), None, "ann", ("t",), 1)],
        resident.settings,
    )
    forward = resident.base.forward

    def odd(*args: object, **kwargs: object) -> object:
        output = forward(*args, **kwargs)
        output.logits = 3.0 * output.logits
        return output

    monkeypatch.setattr(resident.base, "forward", odd)
    with pytest.raises(CannotLearn, match="LlamaForCausalLM treats its logits in a way of its own"):
        policy_head(resident, known)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shift_of_the_output_layer_is_what_policy_and_heads_say_together(
    shape: str, tmp_path: Path, make_settings: Build
) -> None:
    capped = {"final_logit_softcapping": 5.0} if shape == "gemma2" else {}
    model = str(tiny_model(tmp_path / "model", shape, **capped))
    resident = Resident(make_settings(model=model, algorithm="ilql", q_serving="shifted", lora_rank=6))
    resident.become(None, 0)
    reply = (PROMPTS[0], tuple(range(60, 80)))
    (known,) = logged_replies(
        resident, [Example("thumb", reply[0], CompletionTokens(reply[1]), None, "ann", ("t",), 1)], resident.settings
    )
    through = policy_head(resident, known)
    heads = QHeads(resident.model.get_output_embeddings().weight.detach().float(), rank=3, initial_scale=1.0, seed=0)
    q = torch.stack(heads.q_target(known.states)).mean(0)
    expected = through(known.states, 2.0 * q)
    low, high = heads.shift(2.0)
    resident.put_shift(low, high / through.scale)
    with torch.no_grad():
        torch.testing.assert_close(completion_logits(resident.model, [reply]), expected.detach(), rtol=0, atol=2e-3)
        resident.put_shift()
        torch.testing.assert_close(completion_logits(resident.model, [reply]), through(known.states), rtol=0, atol=2e-3)
    assert not torch.allclose(expected, through(known.states), atol=0.1)


def noting_tokens(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Keep how many tokens, padding included, the policy's head is given at a time."""
    seen: list[int] = []
    call = PolicyHead.__call__

    def noted(self: PolicyHead, states: Tensor, shift: Tensor | None = None) -> Tensor:
        seen.append(states[..., 0].numel())
        return call(self, states, shift)

    monkeypatch.setattr(PolicyHead, "__call__", noted)
    return seen


def lengths_and_weights(resident: Resident) -> list[Logged]:
    some = [(2, 1.0), (9, 0.5), (5, 2.0), (1, 1.0), (5, 0.7)]
    examples = [
        Example(
            "thumb",
            prompt,
            CompletionTokens(tuple(range(60, 60 + length))),
            None,
            "ann",
            (f"t{length}",),
            1,
            weight=weight,
        )
        for prompt, (length, weight) in zip(PROMPTS, some, strict=False)
    ]
    return logged_replies(resident, examples, resident.settings)


@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("limit", ["token_budget", "MOST_LOGITS"])
def test_a_step_of_the_heads_is_the_same_in_many_passes(
    make_settings: Build, monkeypatch: pytest.MonkeyPatch, rank: int, limit: str
) -> None:
    settings = make_settings(q_gamma=0.9, anchor=0.3)
    resident = Resident(settings)
    resident.become(None, 0)
    logged = lengths_and_weights(resident)
    anchors = with_distributions(
        resident.model,
        [(prompt, tuple(range(90, 90 + length))) for prompt, length in zip(PROMPTS, (3, 8), strict=False)],
    )
    held, through, seen = (
        held_states(resident, anchors, settings),
        policy_head(resident, logged[0]),
        noting_tokens(monkeypatch),
    )

    def gradients(most: int) -> tuple[list[float], list[Tensor]]:
        monkeypatch.setattr("learner.methods.ilql.MOST_LOGITS", most * 320 if limit == "MOST_LOGITS" else 2**26)
        told = settings.model_copy(update={"token_budget": most} if limit == "token_budget" else {})
        heads = QHeads(
            resident.model.get_output_embeddings().weight.detach().float(), rank=rank, initial_scale=0.3, seed=1
        )
        torch.nn.init.normal_(heads.state_value.weight, std=0.1, generator=torch.Generator().manual_seed(2))
        loss, metrics = head_backward(heads, logged, 1.04, through, told)
        kl = shift_backward(heads, held, through, told)
        return [loss, *metrics.values(), kl], [
            parameter.grad for parameter in heads.parameters() if parameter.grad is not None
        ]

    numbers, whole = gradients(4096)
    assert seen == [5 * 9, 11]
    seen.clear()
    for most in (10, 4):  # 4: also where a reply of 9 tokens, and one of 5, is more than a pass holds
        found, parts = gradients(most)
        assert found == pytest.approx(numbers, rel=1e-5)
        torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)
        assert max(seen) <= most
        assert len(seen) > 3
        seen.clear()


def test_a_training_is_the_same_in_many_passes(make_settings: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, seen = make_settings(**SHIFTED | {"q_steps": 20}), noting_tokens(monkeypatch)
    _, whole = shifted(settings)
    monkeypatch.setattr("learner.methods.ilql.MOST_LOGITS", 320 * 6)
    seen.clear()
    _, cut = shifted(settings)
    assert max(seen) <= 6
    assert [entry["loss"] for entry in cut.curve] == pytest.approx([entry["loss"] for entry in whole.curve], rel=1e-5)
    assert [entry["anchor/kl"] for entry in cut.curve] == pytest.approx(
        [entry["anchor/kl"] for entry in whole.curve], abs=1e-5
    )


def test_goals_are_the_same_in_pieces(make_settings: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    resident = Resident(make_settings())
    resident.become(None, 0)
    logged = lengths_and_weights(resident)
    heads = QHeads(resident.model.get_output_embeddings().weight.detach().float(), initial_scale=1.0, seed=1)
    replies, seen = [(item.prompt_ids, item.ids) for item in logged], noting_tokens(monkeypatch)
    whole = shifted_distributions(resident, heads, PolicyHead(resident), replies, resident.settings)
    assert max(seen) == 9
    monkeypatch.setattr("learner.methods.ilql.MOST_LOGITS", 320 * 2)
    seen.clear()
    cut = shifted_distributions(resident, heads, PolicyHead(resident), replies, resident.settings)
    assert max(seen) == 2
    for one, other in zip(cut, whole, strict=True):
        assert (one.prompt_ids, one.completion_ids, one.top.ids.tolist()) == (
            other.prompt_ids,
            other.completion_ids,
            other.top.ids.tolist(),
        )
        torch.testing.assert_close(one.top.logps, other.top.logps)
        torch.testing.assert_close(one.top.rest, other.top.rest)


SHIFTED = {"algorithm": "ilql", "q_serving": "shifted", "q_steps": 60, "q_rate": 1e-2, "max_kl": 50, "anchor": 0.1}


def shifted(settings: LearnerSettings, parent: Path | None = None) -> tuple[Resident, Trained]:
    """Make an update of words that like replies which begin with 60."""
    resident, optimizer, guards, _ = parts(settings)
    if parent is not None:
        resident.become(parent, 0)
    anchors = with_distributions(resident.model, [(prompt, (50, 51, 2)) for prompt in PROMPTS])
    result = train_ilql(
        resident,
        optimizer,
        guards,
        examples=judged(24),
        samples=[],
        anchors=anchors,
        settings=settings,
        seed=3,
        progress=lambda *_: None,
    )
    return resident, result


def leaning(resident: Resident) -> float:
    """How much likelier 60 is than 90 as a first token, in nats."""
    with torch.no_grad():
        logits = resident.model(input_ids=torch.tensor(PROMPTS)).logits[:, -1]
    return float((logits[:, 60] - logits[:, 90]).mean())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_shift_leaves_the_policy_frozen(make_settings: Build, dtype: str) -> None:
    settings = make_settings(**SHIFTED, dtype=dtype)
    before = Resident(settings)
    before.become(None, 0)
    resident, result = shifted(settings)
    assert result.steps == 60
    assert result.metrics["ilql/beta"] == settings.q_beta
    assert result.metrics["anchor/kl"] > 0
    assert leaning(resident) > leaning(before) + 0.3
    weights = before.weights()
    moved = {name for name, weight in resident.weights().items() if not torch.equal(weight, weights[name])}
    assert moved
    assert all(".lm_head.lora_" in name for name in moved)


def test_a_shift_that_goes_too_far_is_halved(make_settings: Build) -> None:
    gentle = shifted(make_settings(**SHIFTED))[1].metrics
    held = make_settings(**SHIFTED | {"max_kl": gentle["guard/kl"] / 8})
    _, result = shifted(held)
    assert result.stopped == ""
    assert result.metrics["ilql/beta"] < held.q_beta
    assert 0 < result.metrics["guard/kl"] <= held.max_kl


def test_a_shifted_version_comes_back_and_goes_on(make_settings: Build, tmp_path: Path) -> None:
    settings = make_settings(**SHIFTED | {"anchor": 0})
    resident, _ = shifted(settings)
    said = leaning(resident)
    written(resident, tmp_path / "v1")
    again, _ = shifted(
        settings, tmp_path / "v1"
    )  # on the policy without its shift: the same words lead to the same shift, not to twice as much
    assert leaning(again) == pytest.approx(said, abs=1e-4)
    other = Resident(make_settings(algorithm="dpo"))  # whose own versions leave the output layer alone
    other.become(tmp_path / "v1", 0)
    assert leaning(other) == pytest.approx(said, abs=1e-5)
    assert any(".lm_head.lora_" in name for name, _ in other.trainable())
    other.become(None, 0)
    assert not any(".lm_head.lora_" in name for name, _ in other.trainable())
    plain = Resident(make_settings(algorithm="dpo"))
    plain.become(None, 4)
    written(plain, tmp_path / "v2")
    fresh = Resident(settings)
    fresh.become(tmp_path / "v2", 0)  # a version without a shift is one whose shift is nothing
    assert leaning(fresh) == pytest.approx(leaning(plain), abs=1e-5)
    with fresh.as_base():
        assert leaning(fresh) == pytest.approx(leaning(plain), abs=1e-5)


@pytest.mark.parametrize("flags", [{"tuning": "full"}, {"lora_rank": 1}])
def test_a_shift_needs_adapters(flags: dict[str, object], make_settings: Build) -> None:
    with pytest.raises(ValueError, match="q_serving shifted is an adapter on the output layer"):
        make_settings(algorithm="ilql", q_serving="shifted", **flags)


def test_a_shift_is_refused_on_adapters_of_rank_one(make_settings: Build, tmp_path: Path) -> None:
    thin = Resident(make_settings(lora_rank=1))
    thin.become(None, 0)
    written(thin, tmp_path / "v1")
    with pytest.raises(CannotLearn, match="of rank 1"):
        shifted(make_settings(**SHIFTED), tmp_path / "v1")
