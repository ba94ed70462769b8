"""Whether each method learns: the same people, questions and model, one table.

    python -m bench.methods [--seeds 100 101 102] [--methods mixed dpo ...] [--taste short]

Simulated people judge pocket-nano's replies in rounds, the learner makes an update after each round, and what passes its gate is served in the
next. At the end version and base model answer held-out questions at temperature 1, and the taste says which answer is liked better (ties count
half; no order, no position). Right answers to skills that nobody gave feedback on show what was lost. One thread.
These people do not mind wrong answers, so the gate's probes are not asked here; the column of right answers shows what that costs.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from bench.episode import MIX, Episode
from bench.record import record
from bench.verdict import Exam, Paper, sat, wins
from clients.simulated.populations import Population, population
from policy.chat import load_tokenizer
from policy.model import load_model

MODEL, TASTE, USERS = "pocket-nano", "short", 8
ACTS = 96  # acts of people per round; ties and silences among them are no items
QUESTIONS, SAMPLES, RETENTION = 400, 2, 800
SEEDS = (100, 101, 102)  # settings were chosen on seed 0
WANTED = {"mixed": 0.70, "dpo": 0.70, "kto": 0.70, "ppo": 0.70, "grpo": 0.70, "rloo": 0.70, "ilql": 0.60}
KEEP = 0.03  # most that may be lost of retention, sampled at temperature 1 as the wins are
ROUNDS = {"mixed": 4, "dpo": 4, "kto": 4, "ppo": 4, "grpo": 4, "rloo": 3, "ilql": 3}  # each method's budget, in rounds of `ACTS`
# Settings of the learner that differ from the defaults: for all, and by method.
COMMON: dict[str, Any] = {"gate_probe_items": 0, "anchor": 2.0, "anchor_batch": 8}
SETTINGS: dict[str, dict[str, Any]] = {
    "mixed": {"learning_rate": 6e-4},
    "dpo": {"learning_rate": 7e-4},
    "kto": {"learning_rate": 7e-4},
    "ppo": {},
    "grpo": {"anchor": 0.5},
    "rloo": {"rollout_rounds": 5},
    "ilql": {},
}


def one(method: str, seed: int, people: Population, exam: Exam, base: Paper, cache: Path) -> dict[str, Any]:
    """Run one episode; return its numbers. `cache` keeps the base model's anchors, which are the same for all."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(cache, folder / "cache", dirs_exist_ok=True)
        flags = {**COMMON, **SETTINGS[method]}
        episode = Episode.begun(folder, MODEL, people, seed, MIX, algorithm=method, **flags)
        for _ in range(ROUNDS[method]):
            episode.judge(ACTS)
            episode.update()
        version = episode.live()
        paper = sat(episode.resident.model, episode.resident.tokenizer, exam, 1 + seed)
        for path in (folder / "cache").glob("anchors-*"):
            shutil.copy(path, cache)
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
    asked = parser.parse_args()
    torch.set_num_threads(1)
    settings = {"model": MODEL, "taste": asked.taste, "users": USERS, "rounds": ROUNDS, "acts": ACTS, "questions": QUESTIONS, "samples": SAMPLES}
    settings |= {"retention_prompts": RETENTION, "learner": {method: {**COMMON, **SETTINGS[method]} for method in asked.methods}}
    exam, rows = Exam.of(QUESTIONS, SAMPLES, RETENTION), list[dict[str, Any]]()
    base = sat(load_model(MODEL, "cpu"), load_tokenizer(MODEL), exam, 0)
    with tempfile.TemporaryDirectory() as cache:
        for seed in asked.seeds:
            for method in asked.methods:
                rows.append(one(method, seed, population(asked.taste, USERS, seed), exam, base, Path(cache)))
                last = rows[-1]
                print(f"{method} {seed}: win {last['win']:.3f}, retention {100 * last['retention']:+.1f}", file=sys.stderr, flush=True)
                record("methods", {"settings": settings, "threads": 1, "table": table(rows).splitlines(), "rows": rows})
    print(table(rows))


if __name__ == "__main__":
    main()
