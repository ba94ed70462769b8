"""Spelling a word letter by letter."""

from __future__ import annotations

import random
import re

from pocket.skills.base import Skill, Split, Truth, phrase, pick_other
from pocket.skills.style import Forms, without_fragments
from pocket.skills.words import SPELLED

PHRASINGS = {
    "en": {
        "train": [
            "Spell the word {x}.",
            "How do you spell {x}?",
            "Spell {x}.",
            "Please spell {x}.",
            "Can you spell {x}?",
            "How is {x} spelled?",
            "Spell the word {x} for me.",
            "What is the spelling of {x}?",
            "Write {x} letter by letter.",
        ],
        "held": ["Please spell the word {x}.", "Can you spell the word {x}?", "How do I spell {x}?"],
    }
}


def spelled_letters(answer: str) -> list[str]:
    """Return the single letters of an answer in lower case: h, o, u, s, e for `H-O-U-S-E`.

    `a` and `I` count only beside others.
    """
    runs = re.findall(r"(?<![A-Za-z])[A-Za-z](?:[ \-,.]{1,2}[A-Za-z](?![A-Za-z]))+", without_fragments(answer))
    return re.findall(r"[a-z]", max(runs, key=len).lower()) if runs else []


class Spelling(Skill):
    """A hundred and twenty common words of three to six letters."""

    name = "spelling"
    holds_operands = False
    weight = 1.6
    practice = 0.8

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[str, Truth]:
        word = rng.choice(SPELLED)
        return phrase(rng, PHRASINGS, lang, split, x=word), {"word": word, "value": word}

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        dashed = "-".join(truth["value"]).upper()
        return Forms(
            dashed,
            f"{truth['word'].capitalize()} is spelled {dashed}.",
            f"The word {truth['word']} is spelled {dashed}, with {len(truth['value'])} letters.",
        )

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        return {**truth, "value": misspelled(rng, truth["word"])}

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        return "".join(spelled_letters(answer)) == truth["word"]


def misspelled(rng: random.Random, word: str) -> str:
    """Return a word with one wrong letter: doubled, dropped, swapped or changed."""
    while True:
        i = rng.randrange(len(word))
        wrong = rng.choice(
            (
                word[:i] + word[i] + word[i:],
                word[:i] + word[i + 1 :],
                word[:i] + pick_other(rng, "aeioustr", word[i]) + word[i + 1 :],
            )
        )
        if i + 1 < len(word) and rng.random() < 0.3:
            wrong = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
        if wrong != word and len(wrong) > 1:
            return wrong
