"""The cost of one update of 16 choices between answers of 64 tokens, by phase: this tree against another.

    python -m bench.update [--model smollm2] [--rounds 2] [--before PATH] [setting=value ...]

Each update runs in a process of its own on fresh weights. Those of the other tree, of the same model and choices, run
in turns with those of this one. Anchors are there before. CPU seconds hardly depend on what else the machine does.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.record import record

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def main() -> None:
    """Run the rounds, print the phases and the ratio, write bench/results/update_MODEL.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--before", type=Path, help="another tree of the code")
    parser.add_argument("settings", nargs="*")
    asked = parser.parse_args()
    trees = {"now": ROOT} | ({"before": asked.before.resolve()} if asked.before else {})
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(asked.rounds):
            for name, tree in trees.items():
                given = asked.settings if name == "now" else []
                rounds[name].append(update(tree, asked.model, Path(folder), name, given))
                print(name, f"{rounds[name][-1]['cpu_seconds']:.1f} CPU-s", flush=True)
    medians = {name: statistics.median(one["cpu_seconds"] for one in some) for name, some in rounds.items()}
    for name in trees:
        print(f"{name}: {medians[name]:.1f} CPU-s")
        for phase, cost in sorted(rounds[name][-1]["phases"].items(), key=lambda item: -item[1]["cpu_seconds"]):
            print(f"  {phase:22s} {cost['cpu_seconds']:7.2f} CPU-s in {cost['calls']} calls")
    about = {"model": asked.model, "settings": asked.settings, "load_average": os.getloadavg()[1]}
    record(f"update_{Path(asked.model).name}", {**about, "cpu_seconds": medians, "rounds": _rounded(rounds)})


def update(tree: Path, model: str, folder: Path, name: str, settings: list[str]) -> dict[str, Any]:
    """Return what one update took with the code of a tree."""
    data = folder / name
    data.mkdir(exist_ok=True)
    command = [sys.executable, "-P", str(HERE / "phases.py"), "--model", model, "--data", str(data)]
    command += ["--choices", str(folder / "choices.json"), *settings]
    path = f"{tree}{os.pathsep}{tree / 'clients/python'}"
    environment = {**os.environ, "PYTHONPATH": path, "OMP_WAIT_POLICY": "PASSIVE"}
    ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
