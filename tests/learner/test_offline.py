"""Training from a file to a version that loads again; where there is a GPU, on that too, in bfloat16."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from learner.model.resident import Resident
from learner.offline import train_file
from learner.settings import LearnerSettings
from policy.model import load_merged
from policy.versions import fingerprint_difference, fingerprint_tolerance, read_version
from tests.learner.data.test_datasets import preferences

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
DEVICES = [("cpu", "float32"), ("cpu", "bfloat16"), pytest.param("cuda", "bfloat16", marks=[pytest.mark.gpu, CUDA])]
FEW = {
    "rollout.rounds": 2,
    "rollout.prompts": 4,
    "rollout.group_size": 4,
    "rollout.max_tokens": 8,
    "reward_model.min_labels": 4,
    "ilql.steps": 10,
}


@pytest.mark.parametrize(("device", "dtype"), DEVICES)
@pytest.mark.parametrize("algorithm", ["mixed", "grpo", "ilql"])
def test_a_file_becomes_a_version_that_loads_again(
    tiny: Path,
    make_settings: Callable[..., LearnerSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
    device: str,
    dtype: str,
) -> None:
    monkeypatch.setattr("learner.methods.q_head_training.LEARNING_RATE", 1e-2)
    asked = dtype if device == "cpu" else "auto"  # which is bfloat16 on a GPU
    settings = make_settings(
        algorithm=algorithm, device=device, dtype=asked, optimizer__learning_rate=1e-3, max_kl=1e9, **FEW
    )
    out = tmp_path / "out"
    manifest, result = train_file(preferences(tmp_path / "p.jsonl"), out, settings, lambda *_: None)
    assert result.trained.steps > 0
    seen = [
        *result.trained.curve,
        {name: value for name, value in result.metrics.items() if isinstance(value, (int, float))},
    ]
    assert all(math.isfinite(value) for values in seen for value in values.values())
    assert read_version(out) == manifest
    resident = Resident(settings)
    assert (resident.device.type, resident.base.get_input_embeddings().weight.dtype) == (device, getattr(torch, dtype))
    resident.become(None, settings.seed)
    before = resident.weights()
    resident.become(out, settings.seed)
    after = resident.weights()
    assert all(torch.isfinite(weight).all() for weight in after.values())
    moved = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert moved == set(after)
    served = load_merged(str(tiny), out, device, dtype)
    with torch.no_grad():
        logps = (
            served(input_ids=torch.tensor([manifest.fingerprint.prompt_ids], device=device))
            .logits[0, -1]
            .float()
            .log_softmax(-1)
        )
    fingerprint_difference(
        manifest.fingerprint, logps[manifest.fingerprint.top_ids].tolist(), fingerprint_tolerance(dtype)
    )
