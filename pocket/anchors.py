"""Anchor prompts of the bundled models' skills and conversations: `python -m pocket.anchors` writes them.

The learner keeps a version near the base model on such prompts. No skill probe is among them.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pocket.conversations import Stage, conversation, draw_skill, language_of
from pocket.skills.base import Message

DEFAULT = Path(__file__).parent / "weights" / "anchors.jsonl"
PROBES = Path(__file__).parent / "weights" / "probes.jsonl"
SINGLE = 0.6
"""Share of prompts with one question."""
LONGEST = 6
"""Most questions of a conversation."""
STAGE: Stage = "raw"
"""Earlier answers are as the model gives them, so some of them are wrong."""


def anchor_prompts(count: int, probes: Iterable[list[Message]], seed: int = 0) -> list[dict[str, Any]]:
    """Return `count` different prompts that no skill probe has as its last question, the same for the same seed."""
    asked = {prompt[-1]["content"].lower() for prompt in probes}
    rng, found, seen = random.Random(f"anchors {seed}"), list[dict[str, Any]](), set[str]()
    while len(found) < count:
        row = _single(rng) if rng.random() < SINGLE else _conversation(rng)
        key = json.dumps(row["prompt"])
        if key not in seen and row["prompt"][-1]["content"].lower() not in asked:
            seen.add(key)
            found.append(row)
    return found


def _single(rng: random.Random) -> dict[str, Any]:
    skill, lang = draw_skill(rng, STAGE), language_of(rng, STAGE)
    prompt = skill.prompt(rng, lang if lang in skill.languages else "en", "train")
    return _row(skill.name, list(prompt.messages), list(prompt.tools))


def _conversation(rng: random.Random) -> dict[str, Any]:
    while True:
        chat = conversation(rng, STAGE, rng.randint(2, LONGEST))
        if chat.prompts:
            last = max(chat.prompts)
            return _row(chat.prompts[last].skill, chat.messages[:last], list(chat.tools))


def _row(skill: str, messages: list[Message], tools: list[dict[str, Any]]) -> dict[str, Any]:
    return {"skill": skill, "prompt": messages, **({"tools": tools} if tools else {})}


def main() -> None:
    """Write the anchor prompts and print their numbers."""
    parser = argparse.ArgumentParser(
        prog="python -m pocket.anchors", description="Write anchor prompts of the bundled models as JSON Lines."
    )
    parser.add_argument("--count", type=int, default=2000, help="number of prompts")
    parser.add_argument("--out", type=Path, default=DEFAULT)
    asked = parser.parse_args()
    probes = [json.loads(line)["prompt"] for line in PROBES.read_text(encoding="utf-8").splitlines()]
    made = anchor_prompts(asked.count, probes)
    asked.out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made), encoding="utf-8")
    for skill, number in sorted(Counter(row["skill"] for row in made).items()):
        print(f"{skill}: {number}")
    print(f"{len(made)} prompts in {asked.out}")


if __name__ == "__main__":
    main()
