"""A real vLLM server on this CPU as a runner: `make test-vllm` makes its virtual environment and runs this."""

import time
from pathlib import Path

import httpx
import pytest

from policy.errors import RunnerFailed
from policy.runners.base import RunnerOptions, SamplingSettings, TokenDelta, VersionSource, generate_all
from policy.runners.process import RunnerProcess
from policy.runners.vllm import VllmRunner, adapter_name
from tests.models import tiny_adapter
from tests.served import free_port

pytestmark = pytest.mark.vllm
PROMPTS = [[1, 4, 20 + index, 40, 41 + index, 2, 5] for index in range(6)]


def source(model: Path, number: int, adapter: Path | None, cache: Path) -> VersionSource:
    return VersionSource(number, str(model), f"digest{number}" * 4, cache, adapter)


def test_greedy_answers_equal_the_local_runners_and_log_probs_agree(
    url: str, model: Path, adapters: list[Path], tmp_path: Path
) -> None:
    """OpenVINO stores merged weights as float16, so bounds are wider; test_vllm_service.py compares float32 to 1e-3."""
    settings = [
        SamplingSettings(
            temperature=0,
            max_tokens=24,
            end_ids=(2,),
            presence_penalty=0.5 * (index % 2),
            frequency_penalty=0.3 * (index % 3),
        )
        for index in range(len(PROMPTS))
    ]
    shift = tiny_adapter(model, tmp_path / "shift", seed=3, with_head=True)
    for number, adapter in ((0, None), (1, adapters[0]), (2, shift)):
        where = source(model, number, adapter, tmp_path)
        remote, local = VllmRunner(url, where), RunnerProcess.load(where, RunnerOptions(threads=1))
        try:
            theirs, ours = generate_all(remote, PROMPTS, settings), generate_all(local, PROMPTS, settings)
            assert sum(their[0] == our[0] for their, our in zip(theirs, ours, strict=True)) >= len(PROMPTS) - 2
            for their, our in zip(theirs, ours, strict=True):
                if their[0] == our[0]:
                    assert max(abs(a - b) for a, b in zip(their[1], our[1], strict=True)) < 0.03
            scores = remote.score([(prompt, completion[0]) for prompt, completion in zip(PROMPTS, theirs, strict=True)])
            for score, completion in zip(scores, theirs, strict=True):
                assert score == pytest.approx(completion[1], abs=1e-3)
            likeliest, beside = (one.alternatives(PROMPTS[0], theirs[0][0], 5) for one in (remote, local))
            for index, (mine, other) in enumerate(zip(likeliest, beside, strict=True)):
                assert len(mine) == 5
                assert [logp for _, logp in mine] == pytest.approx([logp for _, logp in other], abs=0.03)
                assert dict(mine).get(theirs[0][0][index], theirs[0][1][index]) == pytest.approx(
                    theirs[0][1][index], abs=1e-3
                )
        finally:
            remote.close()
            local.close()


def test_versions_answer_side_by_side_and_leave_nothing_behind(
    url: str, model: Path, adapters: list[Path], tmp_path: Path
) -> None:
    first, second = (
        VllmRunner(url, source(model, number, adapter, tmp_path)) for number, adapter in enumerate(adapters, 1)
    )
    settings = [SamplingSettings(temperature=0, max_tokens=16, end_ids=())] * len(PROMPTS)
    answers = [generate_all(runner, PROMPTS, settings) for runner in (first, second)]
    assert answers[0] != answers[1]
    listed = {entry["id"] for entry in httpx.get(url + "/v1/models").json()["data"]}
    assert {adapter_name(source(model, number, None, tmp_path)) for number in (1, 2)} <= listed
    first.close()
    second.close()
    assert not [entry for entry in httpx.get(url + "/v1/models").json()["data"] if entry["id"].startswith("attune-")]


def test_a_seed_gives_the_same_completion_and_cancel_stops_it(url: str, model: Path, tmp_path: Path) -> None:
    runner = VllmRunner(url, source(model, 0, None, tmp_path))
    settings = SamplingSettings(temperature=1.0, max_tokens=32, seed=7, end_ids=(2,))
    once, again = generate_all(runner, [PROMPTS[0]] * 2, [settings] * 2)
    assert once[0] == again[0]
    steps: list[TokenDelta] = []
    runner.submit("long", PROMPTS[0], SamplingSettings(max_tokens=480, seed=1), steps.append)
    while not steps:
        time.sleep(0.01)
    runner.cancel("long")
    deadline = time.monotonic() + 5
    while not steps[-1].finish and time.monotonic() < deadline:
        time.sleep(0.01)
    assert steps[-1].finish == "cancelled"
    assert sum(len(step.ids) for step in steps) < 480
    runner.close()


def test_a_server_that_is_not_there_is_one_readable_sentence(model: Path, tmp_path: Path) -> None:
    with pytest.raises(RunnerFailed, match="cannot be reached"):
        VllmRunner(f"http://127.0.0.1:{free_port()}", source(model, 0, None, tmp_path))
