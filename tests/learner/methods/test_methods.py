"""Every method, from feedback in the store through the real loop to a version: its record, curves and cost."""

import math
from pathlib import Path
from typing import get_args

import pytest

from bench.episode import MIX, Episode
from bench.verdict import Exam, take_exam, wins
from clients.simulated.populations import population
from learner.settings import Algorithm
from store.runs import runs
from store.versions import feedback_of_version, versions
from tests.learner.data.test_datasets import tags

SMALL = {
    "steps": 2,
    "batch_size": 4,
    "anchors.count": 8,
    "anchors.batch_size": 2,
    "gate.num_samples": 4,
    "gate.max_tokens": 12,
    "gate.num_skill_probes": 0,
    "gate.holdout": 0,
    "rollout.rounds": 1,
    "rollout.prompts": 2,
    "rollout.group_size": 2,
    "rollout.max_tokens": 12,
    "rollout.minibatches": 1,
    "reward_model.min_labels": 4,
    "ilql.steps": 3,
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make few steps of what no setting bounds."""
    monkeypatch.setattr("learner.methods.critic.WARMUP_STEPS", 1)
    monkeypatch.setattr("learner.reward_model.training.MAX_STEPS", 5)
    monkeypatch.setattr("learner.model.optimizer.WARMUP_STEPS", 0)


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
def test_each_method_makes_a_version_and_records_it(algorithm: str, tmp_path: Path) -> None:
    episode = Episode.start(tmp_path, "pocket-nano", population("short", 4, 1), 1, MIX, algorithm=algorithm, **SMALL)
    try:
        episode.collect_feedback(24)
        episode.update()
        run = runs(episode.loop.db, 10)[-1]
        made = versions(episode.loop.db)[1]
        learned = feedback_of_version(episode.loop.db, 1)
    finally:
        episode.close()
    assert (run.state, run.algorithm, run.version, made.number) == ("finished", algorithm, 1, 1)
    assert run.settings["algorithm"] == algorithm
    assert run.seed > 0
    assert learned
    assert made.gate is not None
    assert {"weights_finite", "kl_to_live", "retention_kl"} <= {check["name"] for check in made.gate["checks"]}
    for name in ("tokens", "seconds", "cpu_seconds", "peak_memory_mb", "steps"):
        assert run.metrics[name] > 0, name
    curve = run.metrics["curve"]
    assert [entry["step"] for entry in curve] == list(range(1, len(curve) + 1))
    assert all(math.isfinite(entry["loss"]) for entry in curve)
    assert run.metrics["raters"]
    assert (
        run.metrics["train_seconds"] < run.metrics["seconds"]
    )  # which has the reference, the reward model and the gate in it
    curves = tags(tmp_path / "logs" / "runs" / f"{run.id}-1")
    assert {"loss", "guard/kl", "gradient_norm"} <= curves
    assert ({"reward/mean", "reward/loss"} <= curves) == (algorithm in ("ppo", "grpo", "rloo"))


def test_a_model_wins_half_of_the_time_against_itself(tmp_path: Path) -> None:
    people, exam = population("short,long", 4, 2), Exam.of(40, 2, 8)
    episode = Episode.start(tmp_path, "pocket-nano", people, 2, **SMALL)
    try:
        one, other = (take_exam(episode.resident.model, episode.resident.tokenizer, exam, seed) for seed in (1, 2))
    finally:
        episode.close()
    assert wins(people, exam, one, one)[0] == pytest.approx(0.5)
    rate, error = wins(people, exam, one, other)
    assert abs(rate - 0.5) < 4 * error + 1e-9
    assert one.retention_greedy == other.retention_greedy
