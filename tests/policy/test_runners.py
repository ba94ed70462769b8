"""One suite for all runners: they equal the plain sampler, and a worker's end affects no other."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from policy.errors import PromptTooLong, RunnerFailed, UnsupportedModel
from policy.runners.base import RunnerOptions, SamplingSettings, TokenDelta, generate_all
from policy.runners.process import RunnerProcess, WeightsProcess, WorkerProcess, runner_kinds
from tests.models import tiny_adapter, tiny_model
from tests.policy.conftest import plain_model, rounded_model, source_of

KINDS = ["openvino", "transformers", "llamacpp"]
SHAPES = {
    "openvino": ["llama", "qwen2", "qwen3", "mistral"],
    "llamacpp": ["llama", "qwen2", "qwen3", "mistral"],
    "transformers": ["llama", "qwen3", "mistral", "gemma", "gemma2"],
}
PROMPTS = [[1, 4, *range(60 + 11 * number, 63 + 12 * number), 5] for number in range(16)]
GREEDY = SamplingSettings(temperature=0.0, max_tokens=24, end_ids=(2,))
Runners = Callable[..., RunnerProcess]


@pytest.fixture(params=KINDS)
def runner(request: pytest.FixtureRequest, runners: Runners) -> RunnerProcess:
    return runners(request.param)


class Listener:
    """Keeps a generation's deltas; `wait` returns the last one when it has come."""

    def __init__(self) -> None:
        self.deltas: list[TokenDelta] = []
        self.done = threading.Event()
        self.some = threading.Event()

    def __call__(self, delta: TokenDelta) -> None:
        self.deltas.append(delta)
        if delta.ids:
            self.some.set()
        if delta.finish:
            self.done.set()

    def wait(self) -> TokenDelta:
        assert self.done.wait(60), "no last delta came"
        return self.deltas[-1]


@pytest.mark.parametrize(("kind", "shape"), [(kind, shape) for kind in KINDS for shape in SHAPES[kind]])
def test_greedy_equals_the_plain_sampler_alone_and_in_a_full_batch(
    kind: str, shape: str, runners: Runners, models: Callable[[str], Path]
) -> None:
    from policy.sampler import generate

    model = plain_model(models(shape))
    expected = [generate(model, prompt, GREEDY) for prompt in PROMPTS]
    runner = runners(kind, shape)
    together = generate_all(runner, PROMPTS, [GREEDY] * len(PROMPTS))
    alone = generate_all(runner, PROMPTS[3:4], [GREEDY])
    assert runner.kind == kind
    for (ids, logps, finish), (ours, our_logps, our_finish) in zip(
        [*expected, expected[3]], [*together, *alone], strict=True
    ):
        assert ours == ids
        assert our_finish == finish
        assert our_logps == pytest.approx(logps, abs=2e-4)


@pytest.mark.parametrize(
    ("kind", "shape"), [("openvino", shape) for shape in ("llama", "qwen2", "qwen3")] + [("transformers", "llama")]
)
def test_greedy_with_penalties_equals_the_plain_sampler(
    kind: str, shape: str, runners: Runners, models: Callable[[str], Path]
) -> None:
    from policy.sampler import generate

    model = plain_model(models(shape))
    strengths = [(0.7, 0.0), (0.0, 0.9), (2.0, 2.0), (1.5, 0.4), (-0.8, 0.0), (0.0, -0.3), (-2.0, 1.0), (2.0, -0.5)]
    settings = [
        replace(GREEDY, presence_penalty=presence, frequency_penalty=frequency) for presence, frequency in strengths * 2
    ]
    expected = [generate(model, prompt, setting) for prompt, setting in zip(PROMPTS, settings, strict=True)]
    seen = generate_all(runners(kind, shape), PROMPTS, settings)
    for (ids, logps, finish), (ours, our_logps, our_finish) in zip(expected, seen, strict=True):
        assert (ours, our_finish) == (ids, finish)
        assert our_logps == pytest.approx(logps, abs=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_repetition_penalty_counts_prompt_and_answer_and_leaves_the_log_probabilities(
    kind: str, runners: Runners, models: Callable[[str], Path]
) -> None:
    from policy.sampler import generate

    model, runner = plain_model(models("llama")), runners(kind)
    penalties = [1.3, 0.8, 1.05, 1.0] * (len(PROMPTS) // 4)
    settings = [
        replace(GREEDY, temperature=[0.0, 0.9][number % 2], seed=number, repetition_penalty=penalty, min_p=0.05)
        for number, penalty in enumerate(penalties)
    ]
    expected = [generate(model, prompt, setting) for prompt, setting in zip(PROMPTS, settings, strict=True)]
    seen = generate_all(runner, PROMPTS, settings)
    assert [ids for ids, _, _ in expected[:3]] != [generate(model, prompt, GREEDY)[0] for prompt in PROMPTS[:3]]
    for setting, (ids, logps, finish), (ours, our_logps, our_finish) in zip(settings, expected, seen, strict=True):
        if kind == "openvino" and setting.temperature and setting.repetition_penalty == 1.0:
            continue  # its own random numbers
        assert (ours, our_finish) == (ids, finish)
        assert our_logps == pytest.approx(logps, abs=2e-4)
    ended = Listener()
    runner.submit("ended", PROMPTS[0], replace(settings[0], max_tokens=400), ended)
    runner.submit("other", PROMPTS[0], replace(GREEDY, max_tokens=5), other := Listener())
    assert ended.some.wait(60)
    runner.cancel("ended")
    assert ended.wait().finish == "cancelled"
    assert other.wait().finish == "length"


@pytest.mark.parametrize("kind", KINDS)
def test_a_penalty_makes_repeated_tokens_rarer_also_where_their_logits_are_negative(kind: str, tmp_path: Path) -> None:
    """OpenVINO's own penalty moves such a logit towards zero, which makes the token likelier."""
    from tests.policy.sampling import sampled_logps

    folder = rounded_model(tmp_path / "model", initializer_range=0.12)  # flat enough for unlikely tokens to come
    prompt, number = [1, 4, 100, 101, 102, 5], 3000
    settings = [SamplingSettings(max_tokens=2, seed=seed, presence_penalty=-1.5) for seed in range(1, number + 1)]
    runner = RunnerProcess.load(source_of(folder, tmp_path), RunnerOptions(kinds=(kind,), threads=1))
    try:
        generations = generate_all(runner, [prompt] * number, settings)
    finally:
        runner.close()
    with torch.no_grad():
        logits = plain_model(folder)(torch.tensor([[*prompt, token] for token in range(320)])).logits[:, -1]
    negative = [generation for generation in generations if logits[generation[0][0]][generation[0][0]] < 0]
    repeats = sum(first == second for (first, second), _, _ in negative)
    expected, wrong = (
        sum(
            float(sampled_logps(logits[ids[0]], replace(settings[0], presence_penalty=penalty), [ids[0]])[ids[0]].exp())
            for ids, _, _ in negative
        )
        for penalty in (-1.5, 1.5)
    )
    assert expected > 4 * wrong
    assert abs(repeats - expected) < 5 * expected**0.5 + 1


def test_alternatives_are_the_likeliest_tokens_also_while_generations_are_open(
    runner: RunnerProcess, models: Callable[[str], Path]
) -> None:
    model, generation = plain_model(models("llama")), list(range(100, 190))
    open_generation = Listener()
    runner.submit("open", PROMPTS[0], SamplingSettings(temperature=0.9, max_tokens=200, seed=3), open_generation)
    seen = runner.alternatives(PROMPTS[1], generation, 7)
    with torch.no_grad():
        logits = model(torch.tensor([[*PROMPTS[1], *generation]])).logits[0, len(PROMPTS[1]) - 1 : -1]
    best = torch.log_softmax(logits, -1).topk(7)
    assert len(seen) == len(generation)
    for ours, ids, logps in zip(seen, best.indices.tolist(), best.values.tolist(), strict=True):
        assert [token for token, _ in ours] == ids
        assert [logp for _, logp in ours] == pytest.approx(logps, abs=2e-4)
    assert open_generation.wait().finish == "length"
    assert sum(len(delta.ids) for delta in open_generation.deltas) == 200
    assert runner.alternatives(PROMPTS[1], [], 5) == []
    assert len(runner.alternatives(PROMPTS[1], [9], 320)[0]) == 320


@pytest.mark.parametrize("quantize", ["q8_0", "q4_0"])
def test_quantized_weights_are_served_as_they_are_stored(
    quantize: str, models: Callable[[str], Path], tmp_path: Path
) -> None:
    from gguf import GGMLQuantizationType, quants

    from policy.logprobs import score_rows
    from policy.row_layout import Row

    rows = [Row(prompt, [list(range(100, 130))]) for prompt in PROMPTS]
    model, kind = plain_model(models("llama")), GGMLQuantizationType[quantize.upper()]
    before = score_rows(model, rows)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:
                weights.copy_(torch.from_numpy(quants.dequantize(quants.quantize(weights.numpy(), kind), kind)))
    stored = score_rows(model, rows)
    runner = RunnerProcess.load(
        source_of(models("llama"), tmp_path), RunnerOptions(kinds=("openvino",), threads=1, quantize=quantize)
    )
    try:
        seen = runner.score([(row.prompt_ids, row.branches[0]) for row in rows])
    finally:
        runner.close()
    for ours, (theirs,), (unrounded,) in zip(seen, stored, before, strict=True):
        assert ours == pytest.approx(theirs.tolist(), abs=2e-4)
        assert (theirs - unrounded).abs().max() > 1e-2


def test_bfloat16_is_near(runners: Runners, models: Callable[[str], Path]) -> None:
    generations = [(prompt, list(range(100, 130))) for prompt in PROMPTS]
    exact = runners("openvino").score(generations)
    rough = runners("openvino", precision="bfloat16").score(generations)
    apart = [abs(a - b) for one, other in zip(exact, rough, strict=True) for a, b in zip(one, other, strict=True)]
    assert 0 < sum(apart) / len(apart) < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_completion_alone_in_a_batch_and_in_another_order(kind: str, runners: Runners) -> None:
    runner = runners(kind)
    mixed = [
        SamplingSettings(
            temperature=0.7 + 0.1 * (n % 4),
            top_p=[1.0, 0.9][n % 2],
            top_k=[0, 20, 3][n % 3],
            max_tokens=12 + n,
            seed=n,
            end_ids=(2,),
        )
        for n in range(16)
    ]
    together = generate_all(runner, PROMPTS, mixed)
    backwards = generate_all(runner, PROMPTS[::-1], mixed[::-1])[::-1]
    alone = [generate_all(runner, [prompt], [settings])[0] for prompt, settings in zip(PROMPTS, mixed, strict=True)]
    assert (
        [generation[0] for generation in together]
        == [generation[0] for generation in backwards]
        == [generation[0] for generation in alone]
    )
    other = generate_all(runner, PROMPTS, [replace(settings, seed=1000 + settings.seed) for settings in mixed])
    assert sum(one[0] != two[0] for one, two in zip(together, other, strict=True)) > 10


def test_the_transformers_runner_samples_as_the_plain_sampler_does(
    runners: Runners, models: Callable[[str], Path]
) -> None:
    from policy.sampler import generate

    model = plain_model(models("llama"))
    settings = [
        SamplingSettings(
            0.8,
            [1.0, 0.8][n % 2],
            [0, 7][n % 2],
            16,
            n,
            presence_penalty=0.4 * (n % 3),
            frequency_penalty=0.3 * (n % 2),
        )
        for n in range(16)
    ]
    generations = generate_all(runners("transformers"), PROMPTS, settings)
    for prompt, setting, generation in zip(PROMPTS, settings, generations, strict=True):
        assert generation[0] == generate(model, prompt, setting)[0]


def test_ends_and_lengths(runner: RunnerProcess) -> None:
    long = replace(GREEDY, max_tokens=40, end_ids=())
    (ids, logps, finish) = generate_all(runner, PROMPTS[:1], [long])[0]
    assert (len(ids), len(logps), finish) == (40, 40, "length")
    end = ids[6]
    first = ids.index(end)
    assert generate_all(runner, PROMPTS[:1], [replace(long, end_ids=(319, end))])[0][::2] == (ids[: first + 1], "stop")
    assert generate_all(runner, PROMPTS[:1], [replace(long, max_tokens=first + 1, end_ids=(end,))])[0][::2] == (
        ids[: first + 1],
        "stop",
    )


def test_cancelling_one_generation_takes_effect_at_once_and_leaves_the_others(runner: RunnerProcess) -> None:
    long = SamplingSettings(temperature=1.0, max_tokens=480, seed=5)
    stopped, other = Listener(), Listener()
    runner.submit("stopped", PROMPTS[0], long, stopped)
    runner.submit("other", PROMPTS[1], replace(long, max_tokens=60), other)
    assert stopped.some.wait(60)
    before = sum(len(delta.ids) for delta in stopped.deltas)
    runner.cancel("stopped")
    runner.cancel("never heard of")
    assert stopped.wait().finish == "cancelled"
    assert sum(len(delta.ids) for delta in stopped.deltas) < before + 100
    assert other.wait().finish == "length"
    assert sum(len(delta.ids) for delta in other.deltas) == 60
    again = Listener()
    runner.submit("stopped", PROMPTS[0], replace(long, max_tokens=2), again)
    assert again.wait().finish == "length"
    assert runner.stats()["active"] == 0


def test_what_cannot_be_done_is_refused_with_the_number(runner: RunnerProcess) -> None:
    def refused(prompt: list[int], settings: SamplingSettings = GREEDY) -> Any:
        return runner.submit("refused", prompt, settings, Listener())

    assert runner.context_length == 512
    with pytest.raises(PromptTooLong, match="500 tokens of prompt and 24 of answer .* 512"):
        refused([7] * 500)
    with pytest.raises(ValueError, match="token id 320 "):
        refused([1, 320])
    with pytest.raises(ValueError, match="token id -1 "):
        refused([1, -1])
    with pytest.raises(ValueError, match="no tokens"):
        refused([])
    with pytest.raises(ValueError, match="max_tokens is 0"):
        refused([1], replace(GREEDY, max_tokens=0))
    with pytest.raises(ValueError, match="token id 400 "):
        runner.score([([1], [400])])
    first = Listener()
    runner.submit("twice", PROMPTS[0], replace(GREEDY, max_tokens=400, end_ids=()), first)
    with pytest.raises(ValueError, match="'twice' is in use"):
        runner.submit("twice", PROMPTS[0], GREEDY, Listener())
    runner.cancel("twice")
    assert first.wait().finish in ("cancelled", "length")
    full = generate_all(runner, [[7] * 488], [replace(GREEDY, end_ids=())])[0]
    assert len(full[0]) == 24


def test_scores_are_the_raw_log_probabilities_also_while_generations_are_open(
    runner: RunnerProcess, models: Callable[[str], Path]
) -> None:
    from policy.logprobs import score_rows
    from policy.row_layout import Row

    sequences = [(prompt, list(range(80 + 3 * number, 90 + 4 * number))) for number, prompt in enumerate(PROMPTS)]
    open_generation = Listener()
    runner.submit("open", PROMPTS[0], SamplingSettings(temperature=0.9, max_tokens=200, seed=3), open_generation)
    seen = runner.score(sequences)
    expected = score_rows(plain_model(models("llama")), [Row(prompt, [generation]) for prompt, generation in sequences])
    for ours, plain in zip(seen, expected, strict=True):
        assert ours == pytest.approx(plain[0].tolist(), abs=2e-4)
    assert open_generation.wait().finish == "length"
    assert sum(len(delta.ids) for delta in open_generation.deltas) == 200
    alone = generate_all(runner, [PROMPTS[0]], [SamplingSettings(temperature=0.9, max_tokens=200, seed=3)])[0]
    assert [token for delta in open_generation.deltas for token in delta.ids] == alone[0]
    assert runner.fingerprint(PROMPTS[2], [7, 99, 300]) == pytest.approx(
        [runner.score([(PROMPTS[2], [token])])[0][0] for token in (7, 99, 300)]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_served_merged(kind: str, models: Callable[[str], Path], tmp_path: Path) -> None:
    from peft import PeftModel

    from policy.logprobs import score_rows
    from policy.row_layout import Row

    adapter = tiny_adapter(models("llama"), tmp_path / "adapter")
    sequences = [(prompt, list(range(100, 120))) for prompt in PROMPTS[:4]]
    base = plain_model(models("llama"))
    before = score_rows(base, [Row(prompt, [generation]) for prompt, generation in sequences])
    trained = score_rows(
        PeftModel.from_pretrained(base, adapter).eval(), [Row(prompt, [generation]) for prompt, generation in sequences]
    )
    runner = RunnerProcess.load(
        source_of(models("llama"), tmp_path, adapter=adapter), RunnerOptions(kinds=(kind,), threads=1)
    )
    try:
        seen = runner.score(sequences)
    finally:
        runner.close()
    for ours, ((after,), (untrained,)) in zip(seen, zip(trained, before, strict=True), strict=True):
        assert (after - untrained).abs().max() > 0.2
        assert ours == pytest.approx(after.tolist(), abs=1e-4 if kind == "transformers" else 0.02)  # float16 weights


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_versions_share_the_base_weights_with_adapters_of_their_own(
    device: str, models: Callable[[str], Path], tmp_path: Path
) -> None:
    from peft import PeftModel

    from policy.logprobs import score_rows
    from policy.row_layout import Row

    folder, options = models("llama"), RunnerOptions(device=device, kinds=("transformers",), threads=1)
    sequences = [(prompt, list(range(100, 120))) for prompt in PROMPTS[:4]]
    adapters = [None, *(tiny_adapter(folder, tmp_path / f"adapter {seed}", seed=seed) for seed in (1, 2))]
    held = WeightsProcess.start(str(folder), options)
    served = [
        RunnerProcess.load(source_of(folder, tmp_path, adapter=adapter, weights=held.weights), options)
        for adapter in adapters
    ]
    try:
        assert len(held.weights) < 100_000  # handles, not numbers
        for runner, adapter in zip(served, adapters, strict=True):
            plain = (
                plain_model(folder)
                if adapter is None
                else PeftModel.from_pretrained(plain_model(folder), adapter).eval()
            )
            for ours, (theirs,) in zip(
                runner.score(sequences), score_rows(plain, [Row(*s[:1], [s[1]]) for s in sequences]), strict=True
            ):
                assert ours == pytest.approx(theirs.tolist(), abs=1e-4 if device == "cpu" else 1e-3)
        together = generate_all(
            served[1], PROMPTS[:4], [SamplingSettings(max_tokens=12, seed=number) for number in range(4)]
        )
        alone = generate_all(served[1], PROMPTS[2:3], [SamplingSettings(max_tokens=12, seed=2)])
        assert together[2][0] == alone[0][0]
        assert device != "cpu" or same_memory(served[0].stats()["pid"], served[1].stats()["pid"])
    finally:
        for runner in served:
            runner.close()
        held.close()
    assert not held.is_alive


def same_memory(*pids: int) -> bool:
    """Return whether all these processes map the same shared-memory files of torch."""
    mapped = [
        {line.split()[-1] for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "/dev/shm/torch_" in line}
        for pid in pids
    ]
    return bool(mapped[0]) and all(names == mapped[0] for names in mapped)


def test_a_model_that_keeps_numbers_elsewhere_is_not_handed_out(
    models: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.llama.modeling_llama import LlamaMLP

    from policy.shared_weights import hand_out

    whole, make = plain_model(models("llama")), LlamaMLP.__init__

    def keeps_one(self: Any, config: Any) -> None:
        make(self, config)
        self.aside = torch.zeros(2)

    monkeypatch.setattr(LlamaMLP, "__init__", keeps_one)
    with pytest.raises(UnsupportedModel, match=r"layers\.0\.mlp\.aside is not among them"):
        hand_out(str(models("llama")), whole)


def test_base_weights_that_cannot_be_loaded_are_an_error_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(RunnerFailed, match="base weights cannot be shared: .*set adapters to merged"):
        WeightsProcess.start(str(tmp_path / "nothing"), RunnerOptions(kinds=("transformers",), threads=1))


def test_a_killed_worker_ends_its_generations_with_an_error_and_calls_its_owner(
    models: Callable[[str], Path], tmp_path: Path
) -> None:
    runner = RunnerProcess.load(source_of(models("llama"), tmp_path), RunnerOptions(threads=1))
    reasons: list[str] = []
    ended = threading.Event()
    runner.on_exit = lambda reason: (reasons.append(reason), ended.set())
    generations = [Listener() for _ in range(4)]
    for number, generation in enumerate(generations):
        runner.submit(f"r{number}", PROMPTS[number], SamplingSettings(max_tokens=480, seed=number), generation)
    assert generations[0].some.wait(60)
    os.kill(runner.stats()["pid"], signal.SIGKILL)
    for generation in generations:
        assert generation.wait().finish in ("error", "length")
    assert any(
        generation.deltas[-1].finish == "error" and "status -9" in generation.deltas[-1].error
        for generation in generations
    )
    assert ended.wait(10)
    assert len(reasons) == 1
    with pytest.raises(RunnerFailed):
        runner.submit("late", PROMPTS[0], GREEDY, Listener())
    with pytest.raises(RunnerFailed):
        runner.score([([1], [2])])
    runner.close()


def test_closing_ends_open_generations_and_the_process(models: Callable[[str], Path], tmp_path: Path) -> None:
    runner = RunnerProcess.load(source_of(models("llama"), tmp_path), RunnerOptions(threads=1))
    runner.on_exit = lambda reason: pytest.fail("a requested end is no failure")
    pid = runner.stats()["pid"]
    generation = Listener()
    runner.submit("open", PROMPTS[0], SamplingSettings(max_tokens=500, seed=1), generation)
    runner.close()
    assert generation.wait().finish in ("error", "length")
    assert not alive(pid)
    runner.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_ends_when_its_parent_is_killed(models: Callable[[str], Path], tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from policy.runners.base import RunnerOptions, SamplingSettings, VersionSource\n"
        "from policy.runners.process import RunnerProcess, WorkerProcess, runner_kinds\n"
        f"source = VersionSource(number=0, base={str(models('llama'))!r}, digest='d', cache=Path({str(tmp_path)!r}))\n"
        "runner = RunnerProcess.load(source, RunnerOptions(threads=1))\n"
        "spare = WorkerProcess(runner_kinds('cpu'))\n"
        "runner.submit('a', [1, 4, 5], SamplingSettings(max_tokens=500, seed=1), lambda step: None)\n"
        "print(runner.stats()['pid'], spare.process.pid, flush=True); time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert parent.stdout is not None
    pids = [int(text) for text in parent.stdout.readline().split()]
    assert len(pids) == 2
    assert all(alive(pid) for pid in pids)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in pids if alive(pid)]


def test_a_model_that_openvino_cannot_load_falls_to_the_next_runner_with_a_warning(
    models: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        runner = RunnerProcess.load(source_of(models("gemma"), tmp_path), RunnerOptions(threads=1))
    try:
        assert runner.kind == "transformers"
        assert "runs on transformers, since openvino: " in caplog.text
        assert "gemma" in caplog.text
        assert len(generate_all(runner, PROMPTS[:2], [replace(GREEDY, end_ids=())] * 2)[1][0]) == 24
    finally:
        runner.close()


def test_an_engine_that_crashes_while_loading_is_skipped(
    models: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "openvino_genai.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGFPE)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        runner = RunnerProcess.load(source_of(models("llama"), tmp_path), RunnerOptions(threads=1))
    try:
        assert runner.kind == "llamacpp"
        ended = f"the worker of version 0 ended while loading (status -{int(signal.SIGFPE)})"
        assert f"openvino does not run on this machine: {ended}" in caplog.text
    finally:
        runner.close()
    with pytest.raises(RunnerFailed, match="ended while loading"):
        RunnerProcess.load(source_of(models("llama"), tmp_path), RunnerOptions(threads=1, kinds=("openvino",)))


@pytest.mark.parametrize("threads", [1, 2])
def test_bfloat16_loads_with_any_number_of_threads(threads: int, models: Callable[[str], Path], tmp_path: Path) -> None:
    options = RunnerOptions(kinds=("openvino",), threads=threads, precision="bfloat16")
    runner = RunnerProcess.load(
        source_of(models("llama"), tmp_path), options
    )  # a CPU with AMX and one thread: see policy/runners/openvino.py
    try:
        assert len(generate_all(runner, PROMPTS[:1], [replace(GREEDY, end_ids=())])[0][0]) == 24
    finally:
        runner.close()


def test_what_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(RunnerFailed, match="version 0 cannot be loaded: .*model.safetensors is cut short") as caught:
        RunnerProcess.load(source_of(folder, tmp_path), RunnerOptions(threads=1))
    assert "\n" not in str(caught.value)


def test_a_spare_worker_is_used_and_a_dead_one_replaced(models: Callable[[str], Path], tmp_path: Path) -> None:
    spare = WorkerProcess(runner_kinds("cpu"))
    runner = RunnerProcess.load(source_of(models("llama"), tmp_path), RunnerOptions(threads=1), spare=spare)
    assert runner.stats()["pid"] == spare.process.pid
    runner.close()
    runner = RunnerProcess.load(source_of(models("llama"), tmp_path), RunnerOptions(threads=1), spare=spare)
    assert runner.stats()["pid"] != spare.process.pid
    runner.close()


def test_one_callers_mistake_does_not_end_the_others(runner: RunnerProcess, caplog: pytest.LogCaptureFixture) -> None:
    def broken(delta: TokenDelta) -> None:
        raise ValueError("a mistake of the caller's")

    good = Listener()
    runner.submit("broken", PROMPTS[0], GREEDY, broken)
    runner.submit("good", PROMPTS[1], GREEDY, good)
    assert good.wait().finish in ("stop", "length")
    assert generate_all(runner, PROMPTS[:1], [GREEDY])
    assert "a mistake of the caller's" in caplog.text


def test_the_cache_keeps_the_versions_used_last(models: Callable[[str], Path], tmp_path: Path) -> None:
    from policy.openvino_versions import KEPT, ir_of

    cache, adapter = tmp_path / "cache", tiny_adapter(models("llama"), tmp_path / "adapter")
    source = source_of(models("llama"), cache, adapter=adapter)
    made = []
    for number in range(KEPT + 2):
        made.append(ir_of(replace(source, digest=f"{number:032d}"), RunnerOptions()))
        os.utime(made[-1], (number, number))
    ir_of(replace(source, digest=f"{KEPT + 1:032d}"), RunnerOptions())
    left = sorted(cache.iterdir())
    assert len(left) == KEPT
    assert made[-1] in left
    assert made[0] not in left


def test_the_cache_keeps_neither_old_files_nor_what_dead_workers_left(
    models: Callable[[str], Path], tmp_path: Path
) -> None:
    from policy.openvino_versions import ir_of

    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    cache = tmp_path / "cache"
    half = [cache / f".{'1' * 32}-f16.{pid}" for pid in (dead.pid, os.getpid())]
    for folder in (*half, cache / "moments", cache / "more-of-something"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    for name in (f"{'1' * 32}-f16.gguf", f".{'1' * 32}-q8_0.gguf.{dead.pid}", "anchors-1-2-3.safetensors"):
        (cache / name).write_text("x")
    made = ir_of(source_of(models("llama"), cache), RunnerOptions())
    assert {path.name for path in cache.iterdir()} == {
        made.name,
        half[1].name,
        "moments",
        "more-of-something",
        "anchors-1-2-3.safetensors",
    }
