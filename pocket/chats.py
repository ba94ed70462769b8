"""How a model holds a conversation and calls functions: `python -m pocket.chats MODEL` prints the tables.

Chats go on with the model's own answers, as people's do. Every question has a known answer and a held-out wording.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pocket.evaluate import load
from pocket.generation import answers
from pocket.skills import SKILLS, Prompt
from pocket.skills.base import Message
from pocket.skills.tools import Tools, offer, read_call

EARLIER = (0, 1, 2, 3, 5, 8, 12)
"""Numbers of earlier turns after which an answer is checked."""
SELF_CONTAINED = tuple(
    name for name in SKILLS if name not in ("context", "follow_ups", "manners", "tools", "reversing")
)
"""Skills whose question is one message without a system message. Reversing is left out: it is hard at any turn."""


def questions(rng: random.Random, count: int) -> list[Prompt]:
    """Return the questions of one chat in one language, each of another topic."""
    lang = rng.choice(("en", "zh"))
    fitting = [SKILLS[name] for name in SELF_CONTAINED if lang in SKILLS[name].languages]
    return [rng.choice(fitting).prompt(rng, lang, "held") for _ in range(count)]


def after_turns(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, chats: int, seed: int, sampled: bool
) -> dict[int, float]:
    """Return the share of right answers by the number of earlier turns, one answer of each chat for each number."""
    asked = [questions(random.Random(f"pocket chats {seed} {i}"), max(EARLIER) + 1) for i in range(chats)]
    messages: list[list[Message]] = [[] for _ in asked]
    shares = {}
    for turn in range(max(EARLIER) + 1):
        for chat, prompts in zip(messages, asked, strict=True):
            chat += prompts[turn].messages
        completions = answers(model, tokenizer, messages, sampled=sampled, seed=seed * 100 + turn)
        verdicts = []
        for chat, prompts, completion in zip(messages, asked, completions, strict=True):
            chat.append({"role": "assistant", "content": completion})
            verdicts.append(SKILLS[prompts[turn].skill].check(prompts[turn], completion).correct)
        if turn in EARLIER:
            shares[turn] = statistics.mean(verdicts)
    return shares


def follow_ups(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, count: int, seed: int
) -> dict[str, tuple[int, float]]:
    """Return (number, share right, greedy) of follow-ups and of questions about earlier turns, by kind."""
    rng = random.Random(f"pocket follow-ups {seed}")
    prompts = [SKILLS["follow_ups"].prompt(rng, lang, "held") for lang in ("en", "zh") for _ in range(count // 2)]
    prompts += [SKILLS["context"].prompt(rng, lang, "held") for lang in ("en", "zh") for _ in range(count // 8)]
    completions = answers(model, tokenizer, [p.messages for p in prompts])
    by_kind: dict[str, list[bool]] = {}
    for prompt, completion in zip(prompts, completions, strict=True):
        right = SKILLS[prompt.skill].check(prompt, completion).correct
        name = prompt.truth["kind"] if prompt.skill == "follow_ups" else f"earlier {prompt.truth['kind']}"
        by_kind.setdefault(name, []).append(right)
        by_kind.setdefault("all", []).append(right)
    return {kind: (len(found), statistics.mean(found)) for kind, found in sorted(by_kind.items())}


def calls(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, count: int, seed: int
) -> dict[str, tuple[int, float]]:
    """Return (number, share), greedy, of held-out questions with functions on offer.

    `well formed` and `right arguments` where a call is due, `right answer` from a function's result, and `called` where
    none is due. The chat goes on with the call that the question needs.
    """
    tools = SKILLS["tools"]
    assert isinstance(tools, Tools)  # the skill of this name
    rng = random.Random(f"pocket calls {seed}")
    due, after, none = [], [], []
    for index in range(count):
        lang, offered = ("en", "zh")[index % 2], offer(rng, "held")
        prompt = tools.call(rng, lang, offered, "held")
        due.append(prompt)
        after.append(tools.after(rng, prompt))
        none.append(tools.without_call(rng, lang, offered, "held"))
    prompts = [*due, *after, *none]
    completions = answers(model, tokenizer, [p.messages for p in prompts], tools=[p.tools for p in prompts])
    called, answered, uncalled = (completions[start : start + count] for start in (0, count, 2 * count))

    def right(prompts: Sequence[Prompt], texts: Sequence[str]) -> float:
        return statistics.mean(tools.check(p, text).correct for p, text in zip(prompts, texts, strict=True))

    return {
        "well formed": (count, statistics.mean(read_call(text) is not None for text in called)),
        "right arguments": (count, right(due, called)),
        "right answer": (count, right(after, answered)),
        "called": (count, statistics.mean("<tool_call" in text for text in uncalled)),
        "right without a call": (count, right(none, uncalled)),
    }


def measure_chats(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, chats: int = 400, seed: int = 0
) -> dict[str, Any]:
    """Return all numbers of this module, as JSON values."""
    return {
        "chats": chats,
        "greedy": after_turns(model, tokenizer, chats=chats, seed=seed, sampled=False),
        "sampled": after_turns(model, tokenizer, chats=chats, seed=seed, sampled=True),
        "follow_ups": follow_ups(model, tokenizer, count=2 * chats, seed=seed),
        "calls": calls(model, tokenizer, count=max(1, chats // 2), seed=seed),
    }


def tables(numbers: dict[str, Any]) -> str:
    """Return the numbers as Markdown tables."""
    earlier = list(numbers["greedy"])
    lines = [
        "| earlier turns | " + " | ".join(map(str, earlier)) + " |",
        "|---|" + "---|" * len(earlier),
        *(
            f"| {mode} | " + " | ".join(f"{numbers[mode][n]:.0%}" for n in earlier) + " |"
            for mode in ("greedy", "sampled")
        ),
        "",
        "| follow-up | answers | right |",
        "|---|---|---|",
        *(f"| {kind} | {count} | {share:.0%} |" for kind, (count, share) in numbers["follow_ups"].items()),
        "",
        "| with functions on offer | answers | share |",
        "|---|---|---|",
        *(f"| {kind} | {count} | {share:.1%} |" for kind, (count, share) in numbers["calls"].items()),
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m pocket.chats", description="Conversations and calls of a model.")
    parser.add_argument("model", help="pocket, pocket-nano, or a Hugging Face folder")
    parser.add_argument("--chats", type=int, default=400, help="chats of thirteen turns, greedy and sampled")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    a = parser.parse_args(arguments)
    torch.set_num_threads(2)
    model, tokenizer = load(a.model)
    numbers = measure_chats(model, tokenizer, chats=a.chats, seed=a.seed)
    print(tables(numbers))
    if a.json:
        a.json.write_text(json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
