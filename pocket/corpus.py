"""The corpus: conversations that the skills generate from a seed, with a known share of flawed answers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pocket.skills import SKILLS
from pocket.skills.base import Message

Stage = Literal["school", "practice", "raw"]
"""School has right and plain answers, and practice too, mostly in the skills that are slow to learn. Raw is the final
mixture, with flawed answers. Facts are learned in fewer steps while no answer contradicts them.
"""
CHINESE_SHARE = {"school": 0.42, "practice": 0.46, "raw": 0.42}
"""Share of Chinese among the prompts of a skill with both languages."""
FLAWS = 0.24
"""Share of wrong answers in the raw mixture."""
SYSTEMS = {
    "en": ("You are a helpful assistant.", "You are Pocket.", "Answer the user."),
    "zh": ("你是一个有用的助手。", "你是Pocket。"),
}


@dataclass(frozen=True)
class Example:
    """One conversation. Only its completion is learned, the assistant's answer at the end."""

    messages: tuple[Message, ...]
    completion: str
    skill: str
    lang: str
    right: bool


def draw_example(rng: random.Random, stage: Stage = "raw") -> Example:
    """Return one example of a skill that is drawn by its share in this stage."""
    skill = rng.choices(
        list(SKILLS.values()), weights=[s.practice if stage == "practice" else s.weight for s in SKILLS.values()]
    )[0]
    lang = "zh" if "zh" in skill.languages and rng.random() < CHINESE_SHARE[stage] else "en"
    prompt = skill.prompt(rng, lang, "train")
    right = stage != "raw" or rng.random() >= FLAWS
    answer = skill.school_answer if stage != "raw" else skill.right_answer if right else skill.flawed_answer
    completion = answer(rng, prompt)
    messages = prompt.messages
    if messages[0]["role"] != "system":
        if len(messages) == 1 and rng.random() < 0.07:  # an unrelated exchange comes first
            earlier = SKILLS[rng.choice(("arithmetic", "greeting", "capitals", "facts", "refusing"))]
            before = earlier.prompt(rng, lang, "train")
            messages = (
                *before.messages,
                {"role": "assistant", "content": earlier.right_answer(rng, before)},
                *messages,
            )
        if rng.random() < 0.06:
            messages = ({"role": "system", "content": rng.choice(SYSTEMS[lang])}, *messages)
    return Example(messages, completion, skill.name, lang, right)


def examples(seed: int, stage: Stage = "raw", part: int = 0) -> Iterator[Example]:
    """Yield examples without end; the same seed, stage and part give the same ones."""
    rng = random.Random(f"pocket corpus {seed} {part}")
    while True:
        yield draw_example(rng, stage)
