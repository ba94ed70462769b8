"""Whether each method learns: the same people, model and budget, one table.

    python -m bench.methods [--seeds 100 101 102] [--methods mixed dpo ...] [--taste short]

Simulated people judge pocket-nano's replies in rounds, the learner makes an update after each round, and what passes its gate is served in the
next. At the end version and base model answer held-out questions at temperature 1, and the taste says which answer is liked better (ties count
half; no order, no position). Right answers to skills that nobody gave feedback on show what was lost. One thread; one process per seed and method.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.record import record

MODEL, TASTE, USERS = "pocket-nano", "short", 8
ROUNDS, ACTS = 3, 96  # acts of people per round; ties and silences among them are no items
QUESTIONS, SAMPLES, RETENTION = 400, 2, 800
SEEDS = (100, 101, 102)  # settings were chosen on others
WANTED = {"mixed": 0.70, "dpo": 0.70, "kto": 0.70, "ppo": 0.70, "grpo": 0.70, "rloo": 0.70, "ilql": 0.60}
KEEP = 0.03  # most that may be lost of retention
# What differs from the defaults, by method: the forms of feedback that it reads, and settings of the learner.
FORMS: dict[str, tuple[tuple[str, float], ...]] = {"dpo": (("choice", 1.0),), "kto": (("thumb", 1.0),)}
COMMON: dict[str, Any] = {"anchor": 2.0, "anchor_batch": 8, "learning_rate": 6e-4}
SETTINGS: dict[str, dict[str, Any]] = {method: {} for method in WANTED}


def sit_as_base(to: Path) -> None:
    """Let the base model sit the exam; keep its paper in a file."""
    import torch

    from bench.verdict import Exam, sat
    from policy.chat import load_tokenizer
    from policy.model import load_model

    torch.set_num_threads(1)
    paper = sat(load_model(MODEL, "cpu"), load_tokenizer(MODEL), Exam.of(QUESTIONS, SAMPLES, RETENTION), 0)
    to.write_text(json.dumps({**vars(paper), "texts": paper.texts.texts}))


def one(method: str, seed: int, taste: str, base_paper: Path) -> dict[str, Any]:
    """Run one episode in this process; return its numbers."""
    import torch

    from bench.episode import MIX, Episode
    from bench.verdict import Exam, Paper, sat, wins
    from clients.simulated.measuring import Answers
    from clients.simulated.populations import population

    torch.set_num_threads(1)
    read = json.loads(base_paper.read_text())
    base = Paper(**{**read, "texts": Answers(read["texts"])})
    people, exam = population(taste, USERS, seed), Exam.of(QUESTIONS, SAMPLES, RETENTION)
    with tempfile.TemporaryDirectory() as folder:
        flags = {**COMMON, **SETTINGS[method]}
        episode = Episode.begun(Path(folder), MODEL, people, seed, FORMS.get(method, MIX), algorithm=method, **flags)
        for _ in range(ROUNDS):
            episode.judge(ACTS)
            episode.update()
        version = episode.live()
        paper = sat(episode.resident.model, episode.resident.tokenizer, exam, 1 + seed)
        rate, error = wins(people, exam, paper, base)
        items = sum(count for kind, count in episode.said.items() if kind not in ("tie", "silence"))
        cost, said, verdicts = episode.cost(), dict(episode.said), episode.verdicts
        episode.close()
    kept = {"retention": paper.retention - base.retention, "retention_greedy": paper.retention_greedy - base.retention_greedy}
    about = {"base_retention": base.retention, "base_retention_greedy": base.retention_greedy, "right": paper.right, "base_right": base.right}
    return {
        "method": method, "seed": seed, "win": rate, "win_error": error, **kept, **about, "length": paper.length, "base_length": base.length,
        "items": items, "said": said, "version": version, "updates": len(verdicts), "passed": sum(v["passed"] for v in verdicts), **cost,
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table, a line per method: mean over seeds, and each seed's."""
    lines = [
        "| method | win rate (seeds) | wanted | retention, sampled | retention, greedy | right answers | items | steps | CPU s | holds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for method, wanted in WANTED.items():
        mine = [row for row in rows if row["method"] == method]
        if not mine:
            continue

        def mean(name: str, mine: list[dict[str, Any]] = mine) -> float:
            return sum(float(row[name]) for row in mine) / len(mine)

        errors = max(row["win_error"] for row in mine)
        each = ", ".join(f"{row['win']:.3f}" for row in mine)
        holds = mean("win") >= wanted and mean("retention") >= -KEEP
        lines.append(
            f"| {method} | **{mean('win'):.3f}** ({each}) ±{errors:.3f} | {wanted:.2f} | {100 * mean('retention'):+.1f} |"
            f" {100 * mean('retention_greedy'):+.1f} | {mean('base_right'):.0%} -> {mean('right'):.0%} | {mean('items'):.0f} | {mean('steps'):.0f} |"
            f" {mean('cpu_seconds'):.0f} | {'yes' if holds else 'no'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run all, print the table, write bench/results/methods.json (after each run, so that a stop loses one at most)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--methods", nargs="+", choices=WANTED, default=list(WANTED))
    parser.add_argument("--taste", default=TASTE)
    parser.add_argument("--one", nargs=3, metavar=("METHOD", "SEED", "PAPER"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(one(asked.one[0], int(asked.one[1]), asked.taste, Path(asked.one[2]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        _run(asked, Path(folder) / "base.json")


def _run(asked: argparse.Namespace, paper: Path) -> None:
    sit_as_base(paper)
    rows: list[dict[str, Any]] = []
    settings = {"model": MODEL, "taste": asked.taste, "users": USERS, "rounds": ROUNDS, "acts": ACTS, "questions": QUESTIONS, "samples": SAMPLES}
    settings |= {"retention_prompts": RETENTION, "learner": {method: {**COMMON, **SETTINGS[method]} for method in asked.methods}}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""}
    for seed in asked.seeds:
        for method in asked.methods:
            command = [sys.executable, "-W", "ignore", "-m", "bench.methods", "--taste", asked.taste, "--one", method, str(seed), str(paper)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            if done.returncode:
                raise SystemExit(f"{method} with seed {seed} failed:\n{done.stderr[-2000:]}")
            rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
            last = rows[-1]
            print(f"{method} {seed}: win {last['win']:.3f}, retention {100 * last['retention']:+.1f}", file=sys.stderr, flush=True)
            record("methods", {"settings": settings, "threads": 1, "table": table(rows).splitlines(), "rows": rows})
    print(table(rows))


if __name__ == "__main__":
    main()
