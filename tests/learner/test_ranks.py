"""Two processes make the update that one makes: loss, gradient and weights, by torchrun as people would start it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from learner import ranks

ROOT = Path(__file__).parent.parent.parent
FORMS: dict[str, list[dict[str, Any]]] = {
    "mixed": [
        {"prompt": f"question {number}", "chosen": "yes " * (1 + number % 5), "rejected": "no, never, " * (1 + number % 3)} for number in range(11)
    ],
    "kto": [{"prompt": f"question {number}", "completion": "word " * (1 + number % 6), "label": number % 3 > 0} for number in range(11)],
}


def trained(model: Path, folder: Path, algorithm: str, processes: int) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Train on a file through the command line; return the adapter and its report."""
    file, out = folder / f"{algorithm}.jsonl", folder / f"{algorithm}-{processes}"
    file.write_text("".join(json.dumps(row) + "\n" for row in FORMS[algorithm]))
    small = {"steps": 4, "batch_items": 4, "anchor_items": 8, "anchor_batch": 3, "gate_samples": 4, "gate_max_tokens": 8, "device": "cpu"}
    flags = [text for name, value in small.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    command = ["train", "--data", str(file), "--out", str(out), "--model", str(model), "--algorithm", algorithm, *flags]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    start = launcher if processes > 1 else [sys.executable, "-m"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ATTUNE_")} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*start, "attune", *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.strip().splitlines()) == 1, "one process alone speaks"
    return load_file(out / "adapter_model.safetensors"), json.loads((out / "report.json").read_text())


@pytest.mark.parametrize("algorithm", ["mixed", pytest.param("kto", marks=pytest.mark.slow)])
def test_two_ranks_make_the_update_of_one(tiny: Path, tmp_path: Path, algorithm: str) -> None:
    one, report = trained(tiny, tmp_path, algorithm, 1)
    two, other = trained(tiny, tmp_path, algorithm, 2)
    assert len(report["curve"]) == len(other["curve"]) == 4
    for mine, theirs in zip(report["curve"], other["curve"], strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-6)
        assert mine["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-5, abs=1e-6)
        assert mine.keys() == theirs.keys()
    assert one.keys() == two.keys()
    assert any(weight.abs().max() > 1e-4 for name, weight in one.items() if "lora_B" in name)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=1e-6, rtol=0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_row_has_one_rank_and_ranks_have_about_as_many_tokens(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [7, 300, 12, 80, 80, 33, 150, 9, 61, 44, 210]
    monkeypatch.setattr(ranks, "count", lambda: count)
    shares = []
    for rank in range(count):
        monkeypatch.setattr(ranks.dist, "get_rank", lambda rank=rank: rank)
        shares.append(ranks.share(lengths))
    assert sorted(index for share in shares for index in share) == list(range(len(lengths)))
    tokens = [sum(lengths[index] for index in share) for share in shares]
    assert max(tokens) - min(tokens) <= max(lengths)
