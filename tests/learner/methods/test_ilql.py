"""ILQL as an update, on models that treat their logits each in its own way."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from learner.algorithms.ilql import QHeads
from learner.data.examples import CompletionTokens, Example
from learner.errors import CannotLearn
from learner.methods.logged_completions import LoggedCompletion, logged_completions
from learner.methods.q_head_training import PolicyHead, head_backward, policy_head, shifted_distributions
from learner.model.resident import Resident
from learner.model.scoring import completion_logits
from learner.settings import LearnerSettings
from tests.learner.methods.test_on_policy import PROMPTS
from tests.models import SHAPES, tiny_model

Build = Callable[..., LearnerSettings]


@pytest.mark.parametrize("shape", SHAPES)
def test_q_learning_shifts_the_logits_that_the_model_has(shape: str, tmp_path: Path, make_settings: Build) -> None:
    capped = {"final_logit_softcapping": 5.0} if shape == "gemma2" else {}
    resident = Resident(make_settings(model=str(tiny_model(tmp_path / "model", shape, **capped))))
    resident.become(None, 0)
    (known,) = logged_completions(
        resident, [Example("thumb", PROMPTS[0], CompletionTokens(tuple(range(60, 80))), None, "ann", ("t",), 1)], 4096
    )
    head = policy_head(resident, known, 4096)
    heads = QHeads(resident.model.get_output_embeddings().weight.detach().float(), seed=0)
    (goal,) = shifted_distributions(
        resident, heads, head, [(known.prompt_ids, known.ids)], beta=0.0, budget=4096
    )  # by nothing at beta 0
    with torch.no_grad():
        own = completion_logits(resident.model, [(known.prompt_ids, known.ids)]).log_softmax(-1)
    torch.testing.assert_close(own.gather(-1, goal.top.ids.long()), goal.top.logps.float(), rtol=0, atol=2e-3)


def test_q_learning_is_refused_where_logits_are_made_in_an_unknown_way(
    make_settings: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = Resident(make_settings())
    resident.become(None, 0)
    (known,) = logged_completions(
        resident, [Example("thumb", PROMPTS[0], CompletionTokens((60, 61, 2)), None, "ann", ("t",), 1)], 4096
    )
    forward = resident.base.forward

    def odd(*args: object, **kwargs: object) -> object:
        output = forward(*args, **kwargs)
        output.logits = 3.0 * output.logits
        return output

    monkeypatch.setattr(resident.base, "forward", odd)
    with pytest.raises(CannotLearn, match="LlamaForCausalLM computes its logits in another way"):
        policy_head(resident, known, 4096)


def noting_tokens(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Keep how many tokens, padding included, the policy's head is given at a time."""
    seen: list[int] = []
    call = PolicyHead.__call__

    def noted(self: PolicyHead, states: Tensor) -> Tensor:
        seen.append(states[..., 0].numel())
        return call(self, states)

    monkeypatch.setattr(PolicyHead, "__call__", noted)
    return seen


def lengths_and_weights(resident: Resident) -> list[LoggedCompletion]:
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
            example_weight=weight,
        )
        for prompt, (length, weight) in zip(PROMPTS, some, strict=False)
    ]
    return logged_completions(resident, examples, 4096)


@pytest.mark.parametrize("limit", ["token_budget", "MOST_LOGITS"])
def test_a_step_of_the_heads_is_the_same_in_many_passes(
    make_settings: Build, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr("learner.methods.q_head_training.GAMMA", 0.9)
    resident = Resident(make_settings())
    resident.become(None, 0)
    logged = lengths_and_weights(resident)
    head, seen = policy_head(resident, logged[0], 4096), noting_tokens(monkeypatch)

    def gradients(most: int) -> tuple[list[float], list[Tensor]]:
        monkeypatch.setattr(
            "learner.methods.q_head_training.MOST_LOGITS", most * 320 if limit == "MOST_LOGITS" else 2**26
        )
        budget = most if limit == "token_budget" else 4096
        heads = QHeads(resident.model.get_output_embeddings().weight.detach().float(), initial_scale=0.3, seed=1)
        torch.nn.init.normal_(heads.state_value.weight, std=0.1, generator=torch.Generator().manual_seed(2))
        loss, metrics = head_backward(heads, logged, 1.04, head, tau=0.5, budget=budget)
        return [loss, *metrics.values()], [
            parameter.grad for parameter in heads.parameters() if parameter.grad is not None
        ]

    numbers, whole = gradients(4096)
    assert seen == [5 * 9]
    seen.clear()
    for most in (10, 4):  # 4: also where a completion of 9 tokens, and one of 5, is more than a pass holds
        found, parts = gradients(most)
        assert found == pytest.approx(numbers, rel=1e-5)
        torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)
        assert max(seen) <= most
        assert len(seen) >= 3
        seen.clear()


def test_goals_are_the_same_in_parts(make_settings: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    resident = Resident(make_settings())
    resident.become(None, 0)
    logged = lengths_and_weights(resident)
    heads = QHeads(resident.model.get_output_embeddings().weight.detach().float(), initial_scale=1.0, seed=1)
    completions, seen = [(one.prompt_ids, one.ids) for one in logged], noting_tokens(monkeypatch)
    beta = resident.settings.ilql.beta
    whole = shifted_distributions(resident, heads, PolicyHead(resident), completions, beta=beta, budget=4096)
    assert max(seen) == 9
    monkeypatch.setattr("learner.methods.q_head_training.MOST_LOGITS", 320 * 2)
    seen.clear()
    cut = shifted_distributions(resident, heads, PolicyHead(resident), completions, beta=beta, budget=4096)
    assert max(seen) == 2
    for one, other in zip(cut, whole, strict=True):
        assert (one.prompt_ids, one.completion_ids, one.top.ids.tolist()) == (
            other.prompt_ids,
            other.completion_ids,
            other.top.ids.tolist(),
        )
        torch.testing.assert_close(one.top.logps, other.top.logps)
        torch.testing.assert_close(one.top.rest, other.top.rest)
