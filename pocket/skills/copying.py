"""Retention: repeating words."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import ClassVar

from pocket.skills.base import Skill, Split, Truth, is_held, phrase
from pocket.skills.style import Forms, without_fragments
from pocket.skills.words import CATEGORIES, CATEGORIES_ZH

PHRASINGS = {
    "en": {
        "train": [
            "Repeat after me: {x}.",
            "Say this again: {x}.",
            "Repeat: {x}.",
            "Copy these words: {x}.",
            "Say these words: {x}.",
            "Say {x}.",
            "Repeat these words: {x}.",
            "Say after me: {x}.",
        ],
        "held": ["Please repeat: {x}.", "Please repeat after me: {x}."],
    },
    "zh": {
        "train": [
            "请重复：{x}。",
            "跟我说：{x}。",
            "重复一遍：{x}。",
            "照着说：{x}。",
            "再说一遍：{x}。",
            "跟我念：{x}。",
        ],
        "held": ["请跟我说：{x}。"],
    },
}
POOL = {
    "en": sorted({w for kind in ("animals", "fruits", "clothes") for w in CATEGORIES[kind]}),
    "zh": sorted({w for kind in ("动物", "水果", "颜色") for w in CATEGORIES_ZH[kind]}),
}


class Copying(Skill):
    """Two or three words in order."""

    name = "copying"
    languages = ("en", "zh")
    retention = True
    practice = 4.0
    moods: ClassVar[Mapping[str, float]] = {"plain": 0.7, "full": 0.15, "friendly": 0.15}

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[str, Truth]:
        while True:
            items = rng.sample(POOL[lang], rng.choice((2, 3)))
            if is_held(*items, salt="copying") == (split == "held"):
                break
        return phrase(rng, PHRASINGS, lang, split, x=_joined(items, lang)), {"items": items}

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        copied = _joined(truth["items"], lang)
        copied = copied[:1].upper() + copied[1:]
        return Forms(
            copied,
            copied + ("。" if lang == "zh" else "."),
            f"你说的是：{copied}。" if lang == "zh" else f"You said: {copied.lower()}.",
        )

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        items = list(truth["items"])
        items[rng.randrange(len(items))] = rng.choice(POOL[lang])
        return {"items": items if rng.random() < 0.7 else items[:-1]}

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        text = without_fragments(answer)
        if lang == "zh":
            return [w for w in re.split(r"[，。、：\s]+", text.replace("你说的是", "")) if w in POOL["zh"]] == truth[
                "items"
            ]
        return [w for w in re.findall(r"[a-z]+", text.lower()) if w in POOL["en"]] == truth["items"]


def _joined(items: list[str], lang: str) -> str:
    return "、".join(items) if lang == "zh" else ", ".join(items)
