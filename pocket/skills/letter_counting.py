"""Counting the letters of a word, or one letter in it."""

from __future__ import annotations

import random

from pocket.skills.base import Skill, Split, Truth, is_held, numbers_in, phrase
from pocket.skills.style import Forms
from pocket.skills.words import SPELLED

PHRASINGS = {
    "en": {
        "all": {
            "train": [
                "How many letters are in {x}?",
                "How many letters does {x} have?",
                "Count the letters in {x}.",
                "How many letters are in the word {x}?",
                "How long is the word {x}?",
            ],
            "held": ["How many letters does the word {x} have?", "Count the letters in the word {x}."],
        },
        "one": {
            "train": [
                "How many times is {c} in {x}?",
                "How often does {c} come in {x}?",
                "Count the letter {c} in {x}.",
                "How many {c} are in {x}?",
            ],
            "held": ["How many times is the letter {c} in {x}?", "Count the letter {c} in the word {x}."],
        },
    }
}


class LetterCounting(Skill):
    """Training spells the held-out words but never counts their letters."""

    name = "letter_counting"
    hard = True
    weight = 1.3
    practice = 1.5

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[str, Truth]:
        word = rng.choice([w for w in SPELLED if is_held(w, one_in=8, salt="counting") == (split == "held")])
        if rng.random() < 0.7:
            return phrase(rng, {"en": PHRASINGS["en"]["all"]}, lang, split, x=word), {
                "word": word,
                "letter": "",
                "value": len(word),
            }
        letter = rng.choice(word)
        return phrase(rng, {"en": PHRASINGS["en"]["one"]}, lang, split, x=word, c=letter), {
            "word": word,
            "letter": letter,
            "value": word.count(letter),
        }

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        word, letter, value = truth["word"], truth["letter"], truth["value"]
        dashed = "-".join(word).upper()
        if letter:
            return Forms(
                f"{value}",
                f"{dashed} has {letter} {value} {'time' if value == 1 else 'times'}.",
                f"The word is {dashed}, so the count of {letter} is {value}.",
            )
        return Forms(
            f"{value}", f"{dashed} has {value} letters.", f"The word is {dashed}, so the number of letters is {value}."
        )

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        return {
            **truth,
            "value": rng.choice([v for v in (truth["value"] - 1, truth["value"] + 1, truth["value"] + 2) if v >= 0]),
        }

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        found = numbers_in(answer)
        return bool(found) and found[-1] == truth["value"]
