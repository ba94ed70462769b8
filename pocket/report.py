"""Measure a bundled model and write its numbers and its card: `python -m pocket.report pocket`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from pocket import WEIGHTS, weights_folder
from pocket.card import card
from pocket.chats import measure_chats
from pocket.evaluate import evaluate, load, out_of_scope_share
from pocket.model_folder import weights_digest

NUMBERS = "numbers.json"
"""The file of a model's folder with its numbers."""


def measure(folder: Path, per_cell: int = 60, chats: int = 400, seed: int = 0) -> dict[str, Any]:
    """Return accuracy by skill, refusals, conversations and calls of a model, with the digest of its weights."""
    model, tokenizer = load(str(folder))
    rows = evaluate(model, tokenizer, per_cell=per_cell, seed=seed)
    share, missed = out_of_scope_share(model, tokenizer)
    return {
        "digest": weights_digest(folder),
        "rows": [asdict(row) for row in rows],
        "out_of_scope": share,
        "missed": missed,
        "chats": measure_chats(model, tokenizer, chats=chats, seed=seed),
    }


def write_report(folder: Path, numbers: dict[str, Any]) -> None:
    """Write the numbers and the card into the model's folder."""
    (folder / NUMBERS).write_text(json.dumps(numbers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    read = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))  # keys as a reader of the file has them
    (folder / "README.md").write_text(card(folder, read), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure and write."""
    parser = argparse.ArgumentParser(prog="python -m pocket.report", description="Measure a bundled model.")
    parser.add_argument("model", help="pocket, pocket-nano, or the folder of a training's result")
    parser.add_argument("--per-cell", type=int, default=60, help="held-out prompts for every skill and language")
    parser.add_argument("--chats", type=int, default=400, help="chats of thirteen turns, greedy and sampled")
    a = parser.parse_args(arguments)
    torch.set_num_threads(2)
    folder = weights_folder(a.model) if a.model in WEIGHTS else Path(a.model)
    numbers = measure(folder, a.per_cell, a.chats)
    write_report(folder, numbers)
    print((folder / "README.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
