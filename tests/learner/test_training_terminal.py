"""`attune train` as people see it: its lines, how a signal ends it, and what becomes of its folder."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from learner.data.datasets import LeftOut
from learner.model.resident import Resident
from learner.offline import train_file
from learner.settings import LearnerSettings
from learner.training_terminal import Terminal
from policy.commands import export_model
from policy.model import load_merged
from tests.learner.data.test_datasets import preferences
from tests.models import tiny_tokenizer

BIN = Path(sys.executable).parent
SMALL = ["--device", "cpu", "--anchors.count", "8", "--gate.num-samples", "8", "--gate.max-tokens", "16"]
SUMMARY = ["examples", "steps", "loss", "pairs", "verdict", "report", "serve"]


@pytest.fixture
def command(tiny: Path, tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts `attune train` on the tiny model in a temporary folder of its own, `tmp_path / "tmp"`."""
    (tmp_path / "tmp").mkdir()
    started = []

    def start(*arguments: object, stderr: int = subprocess.PIPE) -> "subprocess.Popen[str]":
        line = [str(BIN / "attune"), "train", "--model", str(tiny), *SMALL, *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path / "tmp"), "COLUMNS": "60"}
        started.append(
            subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_the_summary_is_in_whole_lines(command: Callable[..., "subprocess.Popen[str]"], tmp_path: Path) -> None:
    out = tmp_path / "new" / ("long " * 20 + "[name] :smile:")
    process = command(
        "--data", preferences(tmp_path / "p.jsonl"), "--out", out, "--algorithm", "dpo", "--max-kl", "1e9"
    )
    printed, progress = process.communicate(timeout=300)
    assert process.returncode == 0, progress
    assert printed.startswith(f"{out} ")
    lines = [line for line in progress.splitlines() if not re.match("preparing|training|checking", line)]
    assert lines[0] == "16 examples in the preference form"
    assert [line.split()[0] for line in lines[1:]] == SUMMARY
    assert lines[1] == "examples  14 trained on, 2 held out"
    assert re.fullmatch(r"steps     4 in \d+\.\d s, \d+\.\d s in all", lines[2])  # 14 pairs, twice, eight at a time
    assert re.fullmatch(r"loss      \d+\.\d{3} at first, \d+\.\d{3} at last", lines[3])
    gate = json.loads((out / "report.json").read_text())["gate"]
    assert lines[5] == "verdict   " + (
        "the gate passes it" if gate["passed"] else f"the gate would not pass it: {'; '.join(gate['reasons'])}"
    )
    assert lines[6] == f"report    {out / 'report.json'}, curves in {out / 'logs'}"
    assert lines[7].startswith(f"serve     attune export-model '{out}' --format hf")


def test_in_a_terminal_the_bar_goes_and_the_end_stays(
    command: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    process = command(
        "--data",
        preferences(tmp_path / "p.jsonl"),
        "--out",
        tmp_path / "out",
        "--passes",
        "40",
        "--max-kl",
        "1e9",
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            chunk = os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
        shown += chunk
    assert process.wait(60) == 0
    assert re.search(r"training, loss \d+\.\d{3} .*step \d+ of 70", shown.decode())
    assert "verdict" in shown.decode().rpartition("\x1b[2K")[2]


def test_without_a_terminal_a_line_comes_after_ten_seconds_and_a_tenth_of_the_steps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Terminal() as terminal:
        terminal.opened("preference", 9, LeftOut(0, 2))
        for second in range(1, 31):  # three seconds a step: ten seconds are longer than a tenth of the steps
            now[0] = 3.0 * second
            terminal.phase("train", second, 30, 0.5, {})
        for step in range(1, 1001):  # 0.3 seconds a step: a tenth of the steps is longer than ten seconds
            now[0] = 100.0 + 0.3 * step
            terminal.phase("train", step, 1000, 0.25, {})
    lines = capsys.readouterr().err.splitlines()
    left_out = "left out: 2 with an empty completion, or the same completion on both sides"
    assert lines[0] == f"9 examples in the preference form; {left_out}"
    assert [int(line.split()[2]) for line in lines[1:] if "of 30," in line] == [4, 8, 12, 16, 20, 24, 28]
    assert lines[1] == "training, step 4 of 30, loss 0.500, 12 s"
    assert [int(line.split()[2]) for line in lines[1:] if "of 1000," in line] == [
        128,
        228,
        328,
        428,
        528,
        628,
        728,
        828,
        928,
    ]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_cleanly(
    command: Callable[..., "subprocess.Popen[str]"], tmp_path: Path, number: signal.Signals, status: int
) -> None:
    more = [
        "--steps",
        "10000",
        "--passes",
        "10000",
        "--max-kl",
        "1e9",
        "--algorithm",
        "dpo",
        "--gate.holdout",
        "0",
    ]
    process = command("--data", preferences(tmp_path / "p.jsonl"), "--out", tmp_path / "new" / "out", *more)
    assert process.stderr is not None
    assert process.stderr.readline() == "16 examples in the preference form\n"
    assert list((tmp_path / "tmp").glob("attune-train-*"))
    time.sleep(3)
    process.send_signal(number)
    _, progress = process.communicate(timeout=60)
    assert process.returncode == status
    assert progress.splitlines()[-1] == "interrupted; nothing was written"
    assert all(line.startswith(("preparing", "training")) for line in progress.splitlines()[:-1])
    assert not list((tmp_path / "tmp").glob("attune-train-*"))
    assert not (tmp_path / "new").exists()


def test_a_full_disk_is_one_plain_line(tiny: Path, tmp_path: Path) -> None:
    full = (
        "import sys; from safetensors import SafetensorError; from learner.model.resident import Resident\n"
        "from attune.cli.app import run\n"
        "full = 'Error while serializing: I/O error: No space left on device (os error 28)'\n"
        "def save(self, folder): raise SafetensorError(full)\n"
        "Resident.save = save; sys.exit(run(sys.argv[1:]))"
    )
    arguments = [
        "train",
        "--model",
        str(tiny),
        *SMALL,
        "--data",
        str(preferences(tmp_path / "p.jsonl")),
        "--out",
        str(tmp_path / "out"),
        "--steps",
        "1",
    ]
    done = subprocess.run(
        [sys.executable, "-c", full, *arguments], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        f"the version cannot be written to {tmp_path / 'out'} (Error while serializing: "
    )
    assert "fault" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["p.jsonl"]


def greedy(model: torch.nn.Module, prompt: list[int]) -> list[int]:
    generated = model.generate(input_ids=torch.tensor([prompt]), max_new_tokens=24, do_sample=False)  # type: ignore[operator]
    return [int(token) for token in generated[0, len(prompt) :]]


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_training_becomes_a_model_that_answers_the_same(
    make_settings: Callable[..., LearnerSettings], tiny: Path, tmp_path: Path, tuning: str
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    settings = make_settings(
        steps=20, passes=20, optimizer__learning_rate=3e-3 if tuning == "lora" else 1e-3, tuning=tuning, max_kl=1e9
    )
    out, merged = tmp_path / "v1", tmp_path / "merged"
    train_file(preferences(tmp_path / "p.jsonl"), out, settings, lambda *_: None)
    export_model(str(out), merged, "hf")
    tokenizer = AutoTokenizer.from_pretrained(merged)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "say 3"}], add_generation_prompt=True, return_dict=False
    )
    exported = AutoModelForCausalLM.from_pretrained(merged)
    trained = load_merged(str(tiny), out, "cpu") if tuning == "lora" else AutoModelForCausalLM.from_pretrained(out)
    assert greedy(exported, prompt) == greedy(trained, prompt)
    assert greedy(exported, prompt) != greedy(AutoModelForCausalLM.from_pretrained(tiny), prompt)
    assert not {"report.json", "logs", "manifest.json"} & {path.name for path in merged.iterdir()}


def test_gpt2_is_adapted_without_a_warning(make_settings: Callable[..., LearnerSettings], tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path / "gpt2"
    config = GPT2Config(vocab_size=320, n_positions=128, n_embd=32, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2)
    GPT2LMHeadModel(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        resident = Resident(make_settings(model=str(folder)))
        resident.save(tmp_path / "adapter")
        load_merged(str(folder), tmp_path / "adapter", "cpu")
    assert not [str(warning.message) for warning in seen if "fan_in_fan_out" in str(warning.message)]
