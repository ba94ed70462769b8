"""ILQL as an update, on models that treat their logits each in its own way."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from learner.algorithms.ilql import QHeads
from learner.anchors import with_distributions
from learner.errors import CannotLearn
from learner.examples import Example, Reply
from learner.q_learning import logged_replies, policy_head, shifted_distributions, train_ilql
from learner.resident import Resident
from learner.scoring import reply_logits
from learner.settings import LearnerSettings
from learner.trainer import Trained
from tests.learner.test_on_policy import PROMPTS, judged, parts
from tests.learner.test_resident import written
from tests.models import SHAPES, tiny_model

Build = Callable[..., LearnerSettings]


@pytest.mark.parametrize("shape", SHAPES)
def test_q_learning_shifts_the_logits_that_the_model_has(shape: str, tmp_path: Path, make_settings: Build) -> None:
    capped = {"final_logit_softcapping": 5.0} if shape == "gemma2" else {}
    resident = Resident(make_settings(model=str(tiny_model(tmp_path / "model", shape, **capped)), q_beta=0.0))
    resident.become(None, 0)
    (known,) = logged_replies(resident, [Example("thumb", PROMPTS[0], Reply(tuple(range(60, 80))), None, "ann", ("t",), 1)], 4096)
    through = policy_head(resident, known)
    heads = QHeads(resident.model.get_output_embeddings().weight.detach().float(), seed=0)
    (goal,) = shifted_distributions(resident, heads, through, [(known.prompt_ids, known.ids)], resident.settings)  # by nothing at q_beta 0
    with torch.no_grad():
        own = reply_logits(resident.model, [(known.prompt_ids, known.ids)]).log_softmax(-1)
    torch.testing.assert_close(own.gather(-1, goal.top.ids.long()), goal.top.logps.float(), rtol=0, atol=2e-3)


def test_q_learning_is_refused_where_logits_are_made_in_an_unknown_way(make_settings: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    resident = Resident(make_settings())
    resident.become(None, 0)
    (known,) = logged_replies(resident, [Example("thumb", PROMPTS[0], Reply((60, 61, 2)), None, "ann", ("t",), 1)], 4096)
    forward = resident.base.forward

    def odd(*args: object, **kwargs: object) -> object:
        output = forward(*args, **kwargs)
        output.logits = 3.0 * output.logits
        return output

    monkeypatch.setattr(resident.base, "forward", odd)
    with pytest.raises(CannotLearn, match="LlamaForCausalLM treats its logits in a way of its own"):
        policy_head(resident, known)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shift_of_the_output_layer_is_what_policy_and_heads_say_together(shape: str, tmp_path: Path, make_settings: Build) -> None:
    capped = {"final_logit_softcapping": 5.0} if shape == "gemma2" else {}
    model = str(tiny_model(tmp_path / "model", shape, **capped))
    resident = Resident(make_settings(model=model, algorithm="ilql", q_serving="shifted", lora_rank=6))
    resident.become(None, 0)
    reply = (PROMPTS[0], tuple(range(60, 80)))
    (known,) = logged_replies(resident, [Example("thumb", reply[0], Reply(reply[1]), None, "ann", ("t",), 1)], 4096)
    through = policy_head(resident, known)
    heads = QHeads(resident.model.get_output_embeddings().weight.detach().float(), rank=3, initial_scale=1.0, seed=0)
    q = torch.stack(heads.q_target(known.states)).mean(0)
    expected = through(known.states, 2.0 * q)
    low, high = heads.shift(2.0)
    resident.put_shift(low, high / through.scale)
    with torch.no_grad():
        torch.testing.assert_close(reply_logits(resident.model, [reply]), expected.detach(), rtol=0, atol=2e-3)
        resident.put_shift()
        torch.testing.assert_close(reply_logits(resident.model, [reply]), through(known.states), rtol=0, atol=2e-3)
    assert not torch.allclose(expected, through(known.states), atol=0.1)


SHIFTED = {"algorithm": "ilql", "q_serving": "shifted", "q_steps": 60, "q_rate": 1e-2, "max_kl": 50, "anchor": 0.1}


def shifted(settings: LearnerSettings, parent: Path | None = None) -> tuple[Resident, Trained]:
    """Make an update of words that like replies which begin with 60."""
    resident, optimiser, guards, _ = parts(settings)
    if parent is not None:
        resident.become(parent, 0)
    anchors = with_distributions(resident.model, [(prompt, (50, 51, 2)) for prompt in PROMPTS])
    result = train_ilql(
        resident, optimiser, guards, examples=judged(24), samples=[], anchors=anchors, settings=settings, seed=3, progress=lambda *_: None
    )
    return resident, result


def leaning(resident: Resident) -> float:
    """How much likelier 60 is than 90 as a first token, in nats."""
    with torch.no_grad():
        logits = resident.model(input_ids=torch.tensor(PROMPTS)).logits[:, -1]
    return float((logits[:, 60] - logits[:, 90]).mean())


def test_a_shift_leaves_the_policy_frozen(make_settings: Build) -> None:
    settings = make_settings(**SHIFTED)
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
    again, _ = shifted(settings, tmp_path / "v1")  # on the policy without its shift: the same words lead to the same shift, not to twice as much
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
