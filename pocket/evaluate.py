"""Evaluation of a model by skill and language: `python -m pocket.evaluate MODEL` prints the table."""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from pocket import WEIGHTS, weights_folder
from pocket.generation import answers
from pocket.held_out_refusals import OUT_OF_SCOPE
from pocket.skills import SKILLS, Prompt, Verdict
from pocket.skills.refusing import refuses_and_points


@dataclass(frozen=True)
class Row:
    """One skill in one language: shares of right answers, and the style of sampled answers."""

    skill: str
    lang: str
    hard: bool
    retention: bool
    prompts: int
    greedy: float
    sampled: float
    chars: float
    """Mean characters of a sampled answer."""
    chars_sd: float
    decorated: float
    """Share of sampled answers with markdown, emoji or several exclamation marks."""
    rude: float
    untidy: float


def held_prompts(per_cell: int, seed: int) -> list[Prompt]:
    """Return held-out prompts of every skill and language, the same for the same seed."""
    drawn: list[Prompt] = []
    for skill in SKILLS.values():
        for lang in skill.languages:
            rng = random.Random(f"pocket evaluation {seed} {skill.name} {lang}")
            drawn += itertools.islice(skill.prompts(rng, lang, "held"), per_cell)
    return drawn


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    per_cell: int = 40,
    seed: int = 0,
    sampled: bool = True,
) -> list[Row]:
    """Return a row for every skill and language, on held-out phrasings and operands.

    Without `sampled` the columns of sampled answers are 0.
    """
    prompts = held_prompts(per_cell, seed)
    chats, tools = [p.messages for p in prompts], [p.tools for p in prompts]
    greedy = _verdicts(prompts, answers(model, tokenizer, chats, tools=tools))
    completions = answers(model, tokenizer, chats, tools=tools, sampled=True, seed=seed) if sampled else []
    drawn = _verdicts(prompts, completions) if sampled else []
    cells = [(s, lang) for s in SKILLS.values() for lang in s.languages]
    rows = []
    for i, (skill, lang) in enumerate(cells):
        cell = slice(i * per_cell, (i + 1) * per_cell)
        styles = [v.style for v in drawn[cell]]
        rows.append(
            Row(
                skill.name,
                lang,
                skill.hard,
                skill.retention,
                per_cell,
                statistics.mean(v.correct for v in greedy[cell]),
                statistics.mean(v.correct for v in drawn[cell]) if drawn else 0.0,
                statistics.mean(s.chars for s in styles) if styles else 0.0,
                statistics.pstdev(s.chars for s in styles) if styles else 0.0,
                statistics.mean(s.decorated for s in styles) if styles else 0.0,
                statistics.mean(s.rude for s in styles) if styles else 0.0,
                statistics.mean(not s.tidy for s in styles) if styles else 0.0,
            )
        )
    return rows


def _verdicts(prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Verdict]:
    return [SKILLS[p.skill].check(p, completion) for p, completion in zip(prompts, completions, strict=True)]


def out_of_scope_share(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> tuple[float, list[tuple[str, str]]]:
    """Return the share of out-of-scope prompts that the greedy model refuses, and (prompt, answer) of the others.

    A refusal must name the command that serves another model.
    """
    completions = answers(model, tokenizer, [[{"role": "user", "content": text}] for text in OUT_OF_SCOPE])
    missed = [
        (text, completion)
        for text, completion in zip(OUT_OF_SCOPE, completions, strict=True)
        if not refuses_and_points(completion)
    ]
    return 1 - len(missed) / len(OUT_OF_SCOPE), missed


def overall(rows: Sequence[Row], column: str) -> float:
    """Return a column's mean over the feedback skills; every skill and language has the same weight."""
    return statistics.mean(getattr(r, column) for r in rows if not r.retention)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| skill | language | greedy | sampled | characters | spread | decorated | rude | untidy |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        mark = " (hard)" if r.hard else " (retention)" if r.retention else ""
        shares = " | ".join(f"{share:.0%}" for share in (r.decorated, r.rude, r.untidy))
        lines.append(
            f"| {r.skill}{mark} | {r.lang} | {r.greedy:.0%} | {r.sampled:.0%} "
            f"| {r.chars:.0f} | ±{r.chars_sd:.0f} | {shares} |"
        )
    lines.append(
        f"| **all feedback skills** | | {overall(rows, 'greedy'):.0%} | {overall(rows, 'sampled'):.0%} | | | | | |"
    )
    return "\n".join(lines)


def load(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a bundled model by name, or any Hugging Face folder, in float32 on the CPU or the first GPU."""
    folder = str(weights_folder(name)) if name in WEIGHTS else name
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(
        "cuda" if torch.cuda.is_available() else "cpu"
    )
    return model, AutoTokenizer.from_pretrained(folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, print the table and the out-of-scope share."""
    parser = argparse.ArgumentParser(
        prog="python -m pocket.evaluate", description="Accuracy and style of a model by skill and language."
    )
    parser.add_argument("model", help="pocket, pocket-nano, or a Hugging Face folder")
    parser.add_argument("--per-cell", type=int, default=60, help="held-out prompts for every skill and language")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    a = parser.parse_args(arguments)
    torch.set_num_threads(2)
    model, tokenizer = load(a.model)
    rows = evaluate(model, tokenizer, per_cell=a.per_cell, seed=a.seed)
    print(table(rows))
    share, missed = out_of_scope_share(model, tokenizer)
    print(f"\nout of scope: {share:.0%} of {len(OUT_OF_SCOPE)} prompts refused with the way to a real model")
    for text, completion in missed:
        print(f"  {text} -> {completion}")
    if a.json:
        a.json.write_text(
            json.dumps(
                {"rows": [asdict(r) for r in rows], "out_of_scope": share, "missed": missed},
                indent=1,
                ensure_ascii=False,
            )
            + "\n"
        )


if __name__ == "__main__":
    main()
