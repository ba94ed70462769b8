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

from learner.model import distributed

ROOT = Path(__file__).parents[3]
FORMS: dict[str, list[dict[str, Any]]] = {
    "mixed": [
        {
            "prompt": f"question {number}",
            "chosen": "yes " * (1 + number % 5),
            "rejected": "no, never, " * (1 + number % 3),
        }
        for number in range(11)
    ],
    "kto": [
        {"prompt": f"question {number}", "completion": "word " * (1 + number % 6), "label": number % 3 > 0}
        for number in range(11)
    ],
}


def trained(
    model: Path, folder: Path, algorithm: str, processes: int
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Train on a file through the command line; return the adapter and its report."""
    file, out = folder / f"{algorithm}.jsonl", folder / f"{algorithm}-{processes}"
    file.write_text("".join(json.dumps(row) + "\n" for row in FORMS[algorithm]))
    small = {
        "steps": 4,
        "batch_size": 4,
        "anchors.count": 8,
        "anchors.batch_size": 3,
        "gate.num_samples": 4,
        "gate.max_tokens": 8,
        "device": "cpu",
    }
    flags = [text for name, value in small.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    command = ["train", "--data", str(file), "--out", str(out), "--model", str(model), "--algorithm", algorithm, *flags]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    start = launcher if processes > 1 else [sys.executable, "-m"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ATTUNE_")} | {
        "OMP_NUM_THREADS": "1"
    }
    done = subprocess.run(
        [*start, "attune", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
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


APART = """
import json, sys
from pathlib import Path
import torch
import torch.distributed as dist
from learner.model import anchor_stock, distributed
from learner.model.anchors import with_distributions
from learner.gate.evidence import samples_of
from learner.data.plan import Plan
from learner.model.reference import Reference
from learner.model.resident import Resident
from learner.settings import load_settings
from learner.methods.guards import Guards
from learner.update import Updater

model, folder = sys.argv[1:]
torch.set_num_threads(1)
with distributed.joined("cpu"):
    rank = dist.get_rank()
    small = {"anchors.count": 4, "gate.max_tokens": 8, "device": "cpu", "max_kl": 100.0 if rank else 1e-9}
    settings = load_settings({"model": model, "data": Path(folder) / str(rank)} | small)
    resident = Resident(settings)
    resident.become(None, 0)
    anchor_stock.SEED += rank
    known = Updater(resident, settings).anchors().first(4)
    drawn = samples_of(resident, [anchor.prompt_ids for anchor in known], seed=rank)
    drift = with_distributions(resident.model, [(rollout.prompt_ids, rollout.ids) for rollout in drawn])
    with torch.no_grad():
        for name, parameter in resident.trainable():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    reason = Guards(resident, Plan((), (), (), 0), Reference(resident, 4096), drift, settings).look()[1]
    seen = [[anchor.completion_ids for anchor in known], [rollout.ids for rollout in drawn], reason]
    (Path(folder) / f"{rank}.json").write_text(json.dumps(seen))
"""


def test_ranks_whose_dice_and_measurements_differ_still_do_the_same(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "apart.py").write_text(APART)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "apart.py",
        str(tiny),
        str(tmp_path),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ATTUNE_")} | {
        "OMP_NUM_THREADS": "1"
    }
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert "KL to the live version" in first[2]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_row_has_one_rank_and_ranks_have_about_as_many_tokens(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = [7, 300, 12, 80, 80, 33, 150, 9, 61, 44, 210]
    monkeypatch.setattr(distributed, "count", lambda: count)
    shares = []
    for rank in range(count):
        monkeypatch.setattr(distributed.dist, "get_rank", lambda rank=rank: rank)
        shares.append(distributed.share(lengths))
    assert sorted(index for share in shares for index in share) == list(range(len(lengths)))
    tokens = [sum(lengths[index] for index in share) for share in shares]
    assert max(tokens) - min(tokens) <= max(lengths)
