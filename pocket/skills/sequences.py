"""Retention: what comes next in a row of numbers or letters."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import ClassVar

from pocket.skills.base import Skill, Split, Truth, phrase
from pocket.skills.style import Forms, without_fragments

PHRASINGS = {
    "en": {
        "train": [
            "What comes next: {x}?",
            "Continue: {x}",
            "Which comes next? {x}",
            "What is next: {x}?",
            "Go on: {x}",
            "{x}, and then?",
            "What follows: {x}?",
        ],
        "held": ["What comes next in {x}?", "Please continue: {x}"],
    },
}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Sequences(Skill):
    """Steps of one or two from 1 to 30, and the alphabet; only the phrasing is held out."""

    name = "sequences"
    retention = True
    practice = 2.0
    holds_operands = False
    moods: ClassVar[Mapping[str, float]] = {"plain": 0.75, "short": 0.15, "full": 0.1}

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[str, Truth]:
        if rng.random() < 0.4:
            start = rng.randrange(23)
            row, value = list(LETTERS[start : start + 3]), LETTERS[start + 3]
        else:
            start, step = rng.randint(1, 24), rng.choice((1, 2))
            row, value = [str(start + step * i) for i in range(3)], str(start + step * 3)
        return phrase(rng, PHRASINGS, lang, split, x=", ".join(row)), {"row": row, "value": value}

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        value = truth["value"]
        return Forms(value, f"Next comes {value}.", f"The row {', '.join(truth['row'])} goes on with {value}.")

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        value = truth["value"]
        wrong = str(int(value) + rng.choice((-1, 1, 2))) if value.isdigit() else rng.choice(LETTERS.replace(value, ""))
        return {**truth, "value": wrong}

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        found = re.findall(r"\d+|(?<![a-z])[b-z](?![a-z])|(?<![a-z])a(?=[.,]|$)", without_fragments(answer).lower())
        return found[-1:] == [truth["value"]]
