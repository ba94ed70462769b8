"""Retention: which of two numbers is larger."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import ClassVar

from pocket.skills.base import Skill, Split, Truth, is_held, numbers_in, phrase
from pocket.skills.style import Forms

PHRASINGS = {
    "en": {
        "train": [
            "Which is larger, {a} or {b}?",
            "Which is more, {a} or {b}?",
            "Is {a} or {b} larger?",
            "Which number is larger: {a} or {b}?",
        ],
        "held": ["Which is the larger number, {a} or {b}?", "Which number is larger, {a} or {b}?"],
    },
    "zh": {
        "train": [
            "{a}和{b}哪个大？",
            "{a}和{b}，哪个更大？",
            "{a}和{b}哪个更大？",
            "比较{a}和{b}，哪个大？",
            "{a}大还是{b}大？",
        ],
        "held": ["请问{a}和{b}哪个大？"],
    },
}


class Comparing(Skill):
    """Two numbers from 1 to 40; training has no held-out pair in either order."""

    name = "comparing"
    languages = ("en", "zh")
    retention = True
    practice = 2.0
    moods: ClassVar[Mapping[str, float]] = {"plain": 0.7, "short": 0.15, "full": 0.15}

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[str, Truth]:
        while True:
            a, b = rng.sample(range(1, 41), 2)
            if is_held(min(a, b), max(a, b), salt="comparing") == (split == "held"):
                break
        return phrase(rng, PHRASINGS, lang, split, a=a, b=b), {"a": a, "b": b, "value": max(a, b)}

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        value = truth["value"]
        other = truth["a"] if value == truth["b"] else truth["b"]
        if lang == "zh":
            return Forms(f"{value}", f"{value}比{other}大。", f"比较一下就知道，{value}比{other}大。")
        return Forms(
            f"{value}", f"{value} is larger than {other}.", f"Let us compare them: {value} is larger than {other}."
        )

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        return {**truth, "value": min(truth["a"], truth["b"])}

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        return numbers_in(answer, lang)[:1] == [truth["value"]]
