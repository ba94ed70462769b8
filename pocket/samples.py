"""Greedy answers to held-out prompts for reading: `python -m pocket.samples MODEL`."""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Sequence

import torch

from pocket.evaluate import load
from pocket.generation import answers
from pocket.skills import SKILLS, Prompt


def sample_prompts(count: int, seed: int) -> list[Prompt]:
    """Return about `count` different held-out prompts, spread evenly over skills and languages."""
    cells = [(skill, lang) for skill in SKILLS.values() for lang in skill.languages]
    prompts: list[Prompt] = []
    for i, (skill, lang) in enumerate(cells):
        wanted = count * (i + 1) // len(cells) - count * i // len(cells)
        seen: set[tuple[str, ...]] = set()
        for prompt in itertools.islice(
            skill.prompts(random.Random(f"pocket samples {seed} {skill.name} {lang}"), lang, "held"), 50 * wanted
        ):
            question = tuple(m["content"] for m in prompt.messages)
            if question not in seen and len(seen) < wanted:
                seen.add(question)
                prompts.append(prompt)
    return prompts


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and print one Markdown table row per prompt."""
    parser = argparse.ArgumentParser(prog="python -m pocket.samples", description="Greedy answers to held-out prompts.")
    parser.add_argument("model", help="pocket, pocket-nano, or a Hugging Face folder")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args(arguments)
    torch.set_num_threads(2)
    model, tokenizer = load(a.model)
    prompts = sample_prompts(a.count, a.seed)
    completions = answers(model, tokenizer, [p.messages for p in prompts], tools=[p.tools for p in prompts])
    wrong = 0
    print("| # | skill | asked | answered | |\n|---|---|---|---|---|")
    for number, (prompt, completion) in enumerate(zip(prompts, completions, strict=True), 1):
        right = SKILLS[prompt.skill].check(prompt, completion).correct
        wrong += not right
        asked = " / ".join(m["content"] for m in prompt.messages)
        print(
            "|",
            " | ".join(
                [
                    str(number),
                    f"{prompt.skill} {prompt.lang}",
                    _cell(asked),
                    _cell(completion),
                    "" if right else "**bad**",
                ]
            ),
            "|",
        )
    print(f"\n{len(prompts) - wrong} of {len(prompts)} right by the checkers.")


def _cell(text: str) -> str:
    """Return text that fits one cell of a table."""
    return text.replace("|", "\\|").replace("\n", "⏎")


if __name__ == "__main__":
    main()
