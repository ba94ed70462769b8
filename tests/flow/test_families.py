"""Models of other families, from the first answer to a learned version that is live: all in a fast runner."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from config.fields import nested
from learner.loop import Loop
from learner.settings import LearnerSettings
from policy.logprobs import score_rows
from policy.model import load_merged
from policy.row_layout import Row
from service.model import LocalModel
from store.completions import Completion, get_completion
from tests.models import FAMILIES, tiny_model
from tests.service.running import Running, running

FAST = ("openvino", "llamacpp")
CORRECTIONS = 8
ONE_STEP = {
    "trigger.feedback": CORRECTIONS,
    "steps": 1,
    "algorithm": "dpo",
    "device": "cpu",
    "anchors.count": 4,
    "gate.num_samples": 4,
    "gate.max_tokens": 8,
    "gate.num_skill_probes": 0,
    "gate.max_base_kl": 1000.0,
    "gate.max_anchor_kl": 1000.0,
}


def correct(served: Running) -> None:
    """Correct seeded answers: the same answers, the same pairs and so the same version in each run."""
    for number in range(CORRECTIONS):
        answer = served.chat(f"Question {number}?", seed=number, max_tokens=12)
        given = {"completion_id": answer["id"], "correction": f"Short {number}."}
        served.http.post("/v1/feedback", json=given).raise_for_status()


def kept(served: Running) -> Completion:
    """Ask the live version a question; return the answer as it is kept."""
    answer = served.chat("Hello!", seed=3, max_tokens=12)
    with served.db() as db:
        return get_completion(db, answer["id"])


def logps_of(folder: Path, adapter: Path | None, answer: Completion) -> list[float]:
    """Return the log-probabilities (nats) that transformers finds for an answer's tokens."""
    model = load_merged(str(folder), adapter, "cpu")
    [[logps]] = score_rows(model, [Row(answer.prompt_ids, [answer.completion_ids])])
    return list(logps.tolist())


@pytest.mark.parametrize("family", ["Llama 3.2", "SmolLM3", "Gemma 3", "Phi 3"])
def test_a_family_answers_learns_and_swaps_in_a_fast_runner(family: str, tmp_path: Path) -> None:
    shape, overrides = FAMILIES[family]
    head = {} if shape == "phi3" else {"head_dim": 16}
    folder = tiny_model(tmp_path / "model", shape, **(head | overrides))
    torch.set_num_threads(1)
    with running(tmp_path / "data", make_model=LocalModel, model=str(folder), engine__threads=1) as served:
        first = served.http.get("/readyz").json()
        assert first["runner"] in FAST
        assert first["runner_reason"]
        correct(served)
        flags: dict[str, Any] = {"data": served.data, "model": str(folder), **ONE_STEP}
        loop = Loop(LearnerSettings(**nested(flags)), threading.Event())
        assert loop.run(once=True) == 1
        assert not loop.failure
        served.wait_for_state(1, "live", 60)
        assert served.http.get("/readyz").json()["runner"] == first["runner"]
        answer = kept(served)
    assert answer.version == 1
    trained = logps_of(folder, served.data / "versions" / "000001", answer)
    assert answer.logps == pytest.approx(trained, abs=0.01)
    assert answer.logps != pytest.approx(logps_of(folder, None, answer), abs=0.01)  # it learned
