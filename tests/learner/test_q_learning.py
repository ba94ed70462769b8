"""ILQL as an update, on models that treat their logits each in its own way."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from learner.algorithms.ilql import QHeads
from learner.errors import CannotLearn
from learner.examples import Example, Reply
from learner.q_learning import logged_replies, policy_head, shifted_distributions
from learner.resident import Resident
from learner.scoring import reply_logits
from learner.settings import LearnerSettings
from tests.learner.test_on_policy import PROMPTS
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
