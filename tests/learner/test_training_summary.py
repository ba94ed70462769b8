"""The summary of `attune train`: each method's numbers, and those of the weights that were kept."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from learner.offline import train_file
from learner.settings import LearnerSettings
from learner.training_summary import summary_of
from tests.learner.data.test_datasets import written


@pytest.mark.parametrize("algorithm", ["kto", "grpo", "ilql"])
def test_each_method_prints_its_own_numbers(
    make_settings: Callable[..., LearnerSettings], tmp_path: Path, algorithm: str
) -> None:
    few = {
        "rollout.rounds": 2,
        "rollout.prompts": 4,
        "rollout.group_size": 4,
        "rollout.max_tokens": 8,
        "reward_model.min_labels": 4,
        "ilql.steps": 3,
    }
    settings = make_settings(algorithm=algorithm, max_kl=1e9, gate__holdout=0.5, **few)
    rows = [
        {"prompt": f"say {n}", "completion": "no" if n % 2 else "well, let me think", "label": bool(n % 2)}
        for n in range(32)
    ]
    _, result = train_file(written(tmp_path / "u.jsonl", *rows), tmp_path / "out", settings, lambda *_: None)
    lines = dict(line.split(maxsplit=1) for line in summary_of(result, tmp_path / "out", 40, 5.0))
    assert lines["examples"] == "16 trained on, 16 held out, 8 not used"
    assert lines["held"].startswith("out  accuracy ")
    if algorithm == "kto":
        assert re.fullmatch(
            r"good answers [+-]\d+\.\d, bad answers [+-]\d+\.\d nats against the base model in the last step",
            lines["thumbs"],
        )
    elif algorithm == "grpo":
        assert re.fullmatch(r"mean -?\d+\.\d{3} at first, -?\d+\.\d{3} at last", lines["reward"])
        assert re.fullmatch(r"the reward model is right about \d\.\d\d of held-out thumbs \(AUC\)", lines["accuracy"])
    else:
        heads = [step["loss"] for step in result.trained.curve if "ilql/q" in step]
        assert lines["heads"] == f"loss {heads[0]:.3f} at first, {heads[-1]:.3f} at last, 3 steps"
        assert "policy" in lines


def test_held_out_numbers_are_those_of_the_weights_that_were_kept(
    make_settings: Callable[..., LearnerSettings], tmp_path: Path
) -> None:
    file = written(
        tmp_path / "p.jsonl",
        *({"prompt": f"say {n}", "chosen": "no", "rejected": "well, let me think"} for n in range(64)),
    )
    settings = make_settings(algorithm="dpo", steps=100, max_kl=0.05, optimizer__learning_rate=3e-4, gate__holdout=0.3)
    _, result = train_file(file, tmp_path / "out", settings, lambda *_: None)
    looks = [step for step in result.trained.curve if "held_out/loss" in step]
    assert result.trained.stopped.startswith("KL to the live version")
    assert len(looks) > 1
    lines = summary_of(result, tmp_path / "out", 64, 5.0)
    assert f"held out  accuracy {looks[-2]['held_out/accuracy']:.2f}, loss {looks[-2]['held_out/loss']:.3f}" in lines
    assert any("went back to the last weights within the limits: KL to the live version" in line for line in lines)
