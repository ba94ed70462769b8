"""The corpus: conversations that the skills generate from a seed, with a known share of flawed answers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pocket.conversations import FLAWS, NEVER_FLAWED, SYSTEMS, Stage, answer_of, conversation, draw_skill, language_of
from pocket.skills.base import Message

SINGLE = {"school": 0.6, "practice": 0.5, "raw": 0.4}
"""Share of the examples with one question; the others are conversations."""

__all__ = ["FLAWS", "Example", "Stage", "draw_example", "examples"]


@dataclass(frozen=True)
class Example:
    """One conversation with the last answer apart. Every answer in `learned` is learned, and the completion."""

    messages: tuple[Message, ...]
    completion: str
    skill: str
    lang: str
    right: bool
    """Whether the completion is right."""
    learned: tuple[int, ...] = ()
    """Indices in `messages` of earlier answers that are learned too."""
    tools: tuple[dict[str, Any], ...] = field(default=(), hash=False)


def draw_example(rng: random.Random, stage: Stage = "raw") -> Example:
    """Return one example: a question of a skill that is drawn by its share in this stage, or a conversation."""
    return _single(rng, stage) if rng.random() < SINGLE[stage] else _conversation(rng, stage)


def _single(rng: random.Random, stage: Stage) -> Example:
    skill = draw_skill(rng, stage)
    lang = language_of(rng, stage) if "zh" in skill.languages else "en"
    prompt = skill.prompt(rng, lang, "train")
    right = stage != "raw" or skill.name in NEVER_FLAWED or rng.random() >= FLAWS
    messages = prompt.messages
    if messages[0]["role"] != "system" and rng.random() < 0.06:
        messages = ({"role": "system", "content": rng.choice(SYSTEMS[lang])}, *messages)
    completion = answer_of(rng, stage, prompt, right)
    noted = tuple(i for i, m in enumerate(messages) if m["role"] == "assistant") if skill.name == "context" else ()
    return Example(messages, completion, skill.name, lang, right, noted, prompt.tools)


def _conversation(rng: random.Random, stage: Stage) -> Example:
    chat = conversation(rng, stage)
    while not chat.prompts:  # statements alone
        chat = conversation(rng, stage)
    last = max(chat.prompts)
    learned = tuple(index for index in sorted([*chat.prompts, *chat.noted]) if index < last)
    prompt, completion = chat.prompts[last], chat.messages[last]["content"]
    messages = tuple(chat.messages[:last])
    return Example(messages, completion, prompt.skill, prompt.lang, chat.right[last], learned, chat.tools)


def examples(seed: int, stage: Stage = "raw", part: int = 0) -> Iterator[Example]:
    """Yield examples without end; the same seed, stage and part give the same ones."""
    rng = random.Random(f"pocket corpus {seed} {part}")
    while True:
        yield draw_example(rng, stage)
