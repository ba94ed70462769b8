"""Samplers: each gives torch's rollouts of the weights as they are, the same at every run, and torch takes over."""

import json
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from learner.errors import BadSetting
from learner.model.resident import Resident
from learner.model.rollouts import Rollout, row_settings
from learner.model.runner_sampler import RunnerSampler
from learner.model.sampler import TorchSampler
from learner.model.sampler_choice import LARGE, check_sampler, chosen_sampler, reason_against
from learner.model.scoring import completion_logps
from learner.model.weight_files import WeightFiles
from learner.settings import LearnerSettings
from learner.update import Updater
from policy.runners.base import SamplingSettings
from store.ids import now
from store.runs import Run
from tests.learner.world import World
from tests.models import tiny_model
from tests.policy.test_remote import Server

Build = Callable[..., LearnerSettings]
PROMPTS = [(1, 4, *range(60 + 7 * number, 70 + 8 * number), 5) for number in range(6)]
SETTINGS = row_settings(6, end_ids=(2,), max_tokens=12, seed=7)
LEARNER = Path(__file__).parents[3] / "learner"


@pytest.fixture
def resident(make_settings: Build) -> Iterator[Callable[..., Resident]]:
    """Residents with adapters that change the model, closed at the end."""
    made: list[Resident] = []

    def make(**flags: Any) -> Resident:
        made.append(Resident(make_settings(**flags)))
        made[-1].become(None, 3)
        nudge(made[-1], 1)
        return made[-1]

    yield make
    for one in made:
        one.sampler.close()


def nudge(resident: Resident, seed: int) -> None:
    """Change the trainable weights in place, as an optimizer does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in resident.trainable():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def apart(resident: Resident, rollouts: Sequence[Rollout]) -> float:
    """Return how far recorded log-probabilities are from those of the resident weights, at most, in nats."""
    computed = completion_logps(resident.model, [(one.prompt_ids, one.ids) for one in rollouts], 4096)
    return max(
        float((logps - torch.tensor(one.logps)).abs().max()) for logps, one in zip(computed, rollouts, strict=True)
    )


def process_of(resident: Resident) -> int:
    """Return the id of the runner's process."""
    sampler: Any = resident.sampler
    return int(sampler._runner.stats()["pid"])


@pytest.mark.parametrize("kind", ["llamacpp", "openvino", pytest.param("transformers", marks=pytest.mark.slow)])
def test_a_runner_samples_from_the_weights_as_they_are(resident: Callable[..., Resident], kind: str) -> None:
    one = resident(sampler=kind)
    assert one.sampler.name == kind
    first = one.sampler.sample(PROMPTS, SETTINGS)
    assert [rollout.prompt_ids for rollout in first] == PROMPTS
    assert apart(one, first) < 0.02
    if kind == "llamacpp":  # which computes in float32, and draws as torch does
        torch_sampler = TorchSampler(one)
        assert [(rollout.ids, rollout.is_finished) for rollout in first] == [
            (rollout.ids, rollout.is_finished) for rollout in torch_sampler.sample(PROMPTS, SETTINGS)
        ]
    pid = process_of(one)
    nudge(one, 2)
    assert apart(one, first) > 0.05  # so these are other weights
    assert apart(one, one.sampler.sample(PROMPTS, SETTINGS)) < 0.02
    with one.as_base():
        assert apart(one, one.sampler.sample(PROMPTS, SETTINGS)) < 0.02
    assert kind == "transformers" or process_of(one) == pid  # it took them on without a start


@pytest.mark.parametrize("kind", ["llamacpp", "openvino"])
def test_the_same_weights_and_settings_give_the_same_rollouts_whatever_was_sampled_before(
    resident: Callable[..., Resident], kind: str
) -> None:
    one, other = resident(sampler=kind), resident(sampler=kind)
    other.sampler.sample([PROMPTS[3], *PROMPTS[::-1]], row_settings(7, end_ids=(2,), max_tokens=20, seed=1))
    assert one.sampler.sample(PROMPTS, SETTINGS) == other.sampler.sample(PROMPTS, SETTINGS)
    assert one.sampler.sample(PROMPTS, SETTINGS) == other.sampler.sample(PROMPTS, SETTINGS)


def test_each_row_has_its_own_seed_temperature_top_p_and_length(resident: Callable[..., Resident]) -> None:
    one = resident()
    rows = [
        replace(SETTINGS[0], temperature=0.0),
        replace(SETTINGS[0], max_tokens=3, end_ids=()),
        replace(SETTINGS[0], top_p=1e-6),
        SETTINGS[0],
        replace(SETTINGS[0], seed=SETTINGS[0].seed + 1),
        replace(SETTINGS[0], end_ids=tuple(range(300))),
    ]
    greedy, short, narrow, plain, other, ended = one.sampler.sample([PROMPTS[0]] * 6, rows)
    assert len(short.ids) == 3
    assert not short.is_finished
    assert narrow.ids == greedy.ids
    assert other.ids != plain.ids
    assert ended.is_finished
    assert len(ended.ids) < 12
    assert apart(one, [greedy, short, narrow, plain, other, ended]) < 1e-4  # raw ones, whatever the temperature
    alone = one.sampler.sample([PROMPTS[0]], [SETTINGS[0]])[0]
    assert alone.ids == plain.ids  # a row does not depend on those beside it


def test_torch_takes_over_when_the_process_is_killed_and_nothing_is_lost(
    resident: Callable[..., Resident], caplog: pytest.LogCaptureFixture
) -> None:
    one = resident(sampler="llamacpp")
    expected = TorchSampler(one).sample(PROMPTS, SETTINGS)
    one.sampler.sample(PROMPTS, SETTINGS)
    killed = process_of(one)
    os.kill(killed, signal.SIGKILL)
    assert one.sampler.sample(PROMPTS, SETTINGS) == expected
    assert "torch samples in place of llamacpp this time" in caplog.text
    assert one.sampler.sample(PROMPTS, SETTINGS) != []
    assert process_of(one) != killed  # the next call has a process again


def test_after_two_failures_in_a_row_torch_samples_for_good(
    resident: Callable[..., Resident], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, starts = resident(sampler="llamacpp"), []
    expected = TorchSampler(one).sample(PROMPTS, SETTINGS)

    def refuse(*_: Any, **__: Any) -> None:
        starts.append(1)
        raise MemoryError("no room")

    monkeypatch.setattr("learner.model.runner_sampler.RunnerProcess.load", refuse)
    for _ in range(4):
        assert one.sampler.sample(PROMPTS, SETTINGS) == expected
    assert len(starts) == 2
    assert "until the learner starts again: no room" in caplog.text


def test_rollouts_of_other_weights_are_noticed(
    resident: Callable[..., Resident], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = resident(sampler="llamacpp")
    nudge(one, 5)
    with one.as_base():
        base = WeightFiles(one).source()
    monkeypatch.setattr(WeightFiles, "source", lambda self: base)
    assert one.sampler.sample(PROMPTS, SETTINGS) == TorchSampler(one).sample(PROMPTS, SETTINGS)
    assert "its log-probabilities are off by" in caplog.text


def test_a_vllm_server_samples_while_its_numbers_are_those_of_the_weights(
    resident: Callable[..., Resident], caplog: pytest.LogCaptureFixture
) -> None:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        one = resident(sampler=f"http://127.0.0.1:{server.server_port}")
        with one.as_base():
            right = completion_logps(one.model, [(PROMPTS[0], (9, 2))], 4096)[0].tolist()
            answer = {"token_ids": [9, 2], "finish_reason": "stop"}
            server.script.append([{"choices": [{**answer, "logprobs": {"token_logprobs": right}}]}])
            assert one.sampler.sample(PROMPTS[:1], SETTINGS[:1]) == [Rollout(PROMPTS[0], (9, 2), tuple(right), True)]
            assert server.asked[0]["prompt"] == list(PROMPTS[0])
            assert server.asked[0]["stop_token_ids"] == [2]
        one.sampler.close()
        with one.as_base():  # what it answers now is not from this model
            assert one.sampler.sample(PROMPTS[:1], SETTINGS[:1]) == TorchSampler(one).sample(PROMPTS[:1], SETTINGS[:1])
        assert "its log-probabilities are off by" in caplog.text
        one.sampler.close()
        server.shutdown()


def test_an_idle_process_ends_and_its_cpu_time_still_counts(resident: Callable[..., Resident]) -> None:
    one = resident()
    sampler = RunnerSampler(one, "llamacpp", TorchSampler(one).sample, idle_s=0.2)
    sampler.sample(PROMPTS, SETTINGS)
    worker: Any = sampler._runner
    limit = time.monotonic() + 20
    while sampler._runner is not None and time.monotonic() < limit:
        time.sleep(0.05)
    assert sampler._runner is None
    assert worker._worker.process.poll() is not None
    assert sampler.cpu_seconds() > 0.05
    assert apart(one, sampler.sample(PROMPTS, SETTINGS)) < 0.02  # and a call starts another
    sampler.close()


def test_the_base_model_and_a_version_are_read_where_they_are(make_settings: Build, tmp_path: Path) -> None:
    one = Resident(make_settings())
    files = WeightFiles(one)
    one.become(None, 3)
    assert (files.source().adapter, files.source().digest) == (None, one.base_digest)  # fresh adapters change nothing
    nudge(one, 1)
    written = files.source()
    assert written.adapter is not None
    assert written.scratch is not None
    assert written.adapter.parent == written.scratch
    nudge(one, 2)
    assert files.source().digest != written.digest
    assert not written.adapter.exists()  # only the newest are kept
    with one.as_base():
        assert files.source().adapter is None
    files.close()
    assert not written.scratch.exists()


def test_what_a_dead_process_left_is_removed(make_settings: Build) -> None:
    one = Resident(make_settings())
    left = one.settings.data / "cache" / "sampler-999999999"
    left.mkdir(parents=True)
    ours = left.with_name(f"sampler-{os.getpid()}")
    ours.mkdir()
    WeightFiles(one)
    assert not left.exists()
    assert ours.exists()


@pytest.mark.parametrize("algorithm", ["grpo", "mixed"])
def test_an_update_with_a_runner_gives_the_same_weights_every_time(
    world: World, make_settings: Build, algorithm: str
) -> None:
    world.likes_short(10)
    few = {"rollout.rounds": 2, "rollout.prompts": 2, "rollout.group_size": 2, "rollout.max_tokens": 8}
    settings = make_settings(algorithm=algorithm, sampler="llamacpp", **few, **{"reward_model.min_labels": 4})
    run = Run("run-1", algorithm, "running", {}, 11, 0, 8, 0, 1000, now())
    digests, metrics = set(), {}
    for _ in range(2):
        one = Resident(settings)
        result = Updater(one, settings).update(
            world.material(one, run), settings, lambda *_: None, parent=0, seed=run.seed
        )
        metrics = result.metrics
        one.sampler.close()
        digests.add(one.weights_digest())
    assert len(digests) == 1
    assert metrics["cpu_seconds"] > 0


@pytest.mark.parametrize(
    ("flags", "parameters", "on_cpu", "processes", "name"),
    [
        ({}, LARGE, True, 1, "openvino"),
        ({}, LARGE - 1, True, 1, "torch"),
        ({}, LARGE, False, 1, "torch"),
        ({}, LARGE, True, 2, "torch"),
        ({"tuning": "full"}, LARGE, True, 1, "torch"),
        ({"sampler": "torch"}, LARGE, True, 1, "torch"),
        ({"sampler": "transformers"}, 1, False, 1, "transformers"),
        ({"sampler": "http://127.0.0.1:8000"}, 1, True, 1, "http://127.0.0.1:8000"),
    ],
)
def test_auto_takes_what_was_measured_to_be_quicker_and_names_the_reason(
    make_settings: Build, flags: dict[str, Any], parameters: int, on_cpu: bool, processes: int, name: str
) -> None:
    settings = make_settings(**flags)
    found, why = chosen_sampler(
        settings, Path(settings.model), num_parameters=parameters, on_cpu=on_cpu, num_processes=processes
    )
    assert found == name
    assert why


def test_auto_passes_over_runners_that_cannot_run_the_model(
    make_settings: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phi = tiny_model(tmp_path / "phi", "phi3")
    settings = make_settings(model=str(phi))
    chosen = {"num_parameters": LARGE, "on_cpu": True, "num_processes": 1}
    assert chosen_sampler(settings, phi, **chosen)[0] == "llamacpp"
    monkeypatch.setattr("policy.runners.llamacpp_library.is_installed", lambda: False)
    assert chosen_sampler(settings, phi, **chosen)[0] == "torch"
    assert reason_against("llamacpp", phi) == "llama.cpp is not installed (xllamacpp)"


def test_the_choice_is_one_log_line(make_settings: Build, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "learner.model.sampler"):
        Resident(make_settings())
    lines = [record.getMessage() for record in caplog.records if record.name == "learner.model.sampler"]
    assert len(lines) == 1
    assert re.match(r"rollouts are sampled by torch: for [\d.]+ million parameters ", lines[0])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"sampler": "openvino"}, "sampler is openvino, but its model_type 'gemma' is not one of"),
        ({"sampler": "http://127.0.0.1:1", "tuning": "full"}, "but a vLLM server takes no full weights"),
    ],
)
def test_a_sampler_that_cannot_be_used_is_refused_before_the_model_is_loaded(
    make_settings: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], message: str
) -> None:
    gemma = tiny_model(tmp_path / "gemma", "gemma")
    settings = make_settings(model=str(gemma), **flags)
    monkeypatch.setattr("learner.model.resident.load_model", lambda *_: pytest.fail("the model is loaded"))
    with pytest.raises(BadSetting, match=re.escape(message)):
        Resident(settings)
    with pytest.raises(BadSetting, match=re.escape(message)):
        check_sampler(settings, gemma)


def test_an_unknown_sampler_is_no_setting(make_settings: Build) -> None:
    with pytest.raises(BadSetting, match="sampler"):
        make_settings(sampler="sglang")


def test_nothing_else_in_the_learner_samples_on_its_own() -> None:
    allowed = {"model/rollouts.py", "model/sampler.py"}
    asks = re.compile(r"\bsample_rollouts\(|\bgenerate_all\(|\.generate\(|multinomial\(|sampled_tokens\(")
    found = {str(path.relative_to(LEARNER)) for path in LEARNER.rglob("*.py") if asks.search(path.read_text("utf-8"))}
    assert found == {*allowed, "model/runner_sampler.py"}


def test_settings_of_rows_are_those_of_runners() -> None:
    rows = row_settings(3, end_ids={9, 2}, max_tokens=5, seed=1, temperature=0.5, top_p=0.9)
    assert len({row.seed for row in rows}) == 3
    assert all(0 <= row.seed < 2**31 for row in rows)
    assert {replace(row, seed=0) for row in rows} == {
        SamplingSettings(temperature=0.5, top_p=0.9, max_tokens=5, end_ids=(2, 9))
    }
    assert rows == row_settings(3, end_ids=(2, 9), max_tokens=5, seed=1, temperature=0.5, top_p=0.9)
    assert json.dumps([row.seed for row in rows])  # plain integers
