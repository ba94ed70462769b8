"""Reversing a word, or a row of words or numbers."""

from __future__ import annotations

import random
import re

from pocket.skills.base import Skill, Split, Truth, is_held, phrase
from pocket.skills.spelling import misspelled
from pocket.skills.style import Forms, without_fragments
from pocket.skills.words import CATEGORIES, SPELLED

PHRASINGS = {
    "en": {
        "word": {
            "train": [
                "Reverse the word {x}.",
                "Reverse {x}.",
                "Write {x} backwards.",
                "Spell {x} backwards.",
                "What is {x} backwards?",
                "Say the word {x} backwards.",
            ],
            "held": ["Please reverse the word {x}.", "Write the word {x} backwards."],
        },
        "row": {
            "train": [
                "Reverse the order: {x}.",
                "Put these in reverse order: {x}.",
                "Reverse this list: {x}.",
                "Say these backwards: {x}.",
            ],
            "held": ["Please reverse this list: {x}.", "Put this list in reverse order: {x}."],
        },
    }
}
ROW_WORDS = CATEGORIES["animals"] + CATEGORIES["fruits"] + ["red", "blue", "green"]


def is_held_word(word: str) -> bool:
    """Return whether training never reverses this word."""
    return is_held(word, one_in=10, salt="reversing") and word != "stone"


class Reversing(Skill):
    """Words of up to six letters (training only spells the held-out ones), and rows of three."""

    name = "reversing"
    hard = True
    weight = 1.8
    practice = 4.0

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[str, Truth]:
        if rng.random() < 0.7:
            word = rng.choice([w for w in SPELLED if is_held_word(w) == (split == "held")])
            return phrase(rng, {"en": PHRASINGS["en"]["word"]}, lang, split, x=word), {
                "kind": "word",
                "items": [word],
                "value": word[::-1],
            }
        while True:
            items = rng.sample(ROW_WORDS, 3) if rng.random() < 0.5 else [str(n) for n in rng.sample(range(1, 20), 3)]
            if is_held(*items, one_in=5, salt="row") == (split == "held"):
                break
        return phrase(rng, {"en": PHRASINGS["en"]["row"]}, lang, split, x=", ".join(items)), {
            "kind": "row",
            "items": items,
            "value": ", ".join(items[::-1]),
        }

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        value, items = truth["value"], truth["items"]
        if truth["kind"] == "row":
            return Forms(
                value,
                f"In reverse order: {value}.",
                f"You gave me {', '.join(items)}. In reverse order that is {value}.",
            )
        spaced = "-".join(value).upper()
        return Forms(
            spaced,
            f"{items[0].capitalize()} backwards is {spaced}.",
            f"The word {items[0]} is {'-'.join(items[0]).upper()}, and backwards it is {spaced}.",
        )

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        if truth["kind"] == "row":
            mixed = rng.sample(truth["items"], len(truth["items"]))
            return {**truth, "value": ", ".join(mixed if rng.random() < 0.7 else mixed[:-1])}
        return {**truth, "value": truth["items"][0] if rng.random() < 0.2 else misspelled(rng, truth["value"])}

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        text = without_fragments(answer).lower()
        if truth["kind"] == "row":
            found = [w for w in re.findall(r"[a-z]+|\d+", text) if w in truth["items"]]
            return found[-len(truth["items"]) :] == truth["items"][::-1] and found[: -len(truth["items"])] in (
                [],
                truth["items"],
            )
        squeezed = re.sub(r"(?<![a-z])([a-z](?:-[a-z])+)(?![a-z])", lambda m: m.group(1).replace("-", ""), text)
        after = squeezed.split("backwards")[-1] if "backwards" in squeezed else squeezed
        return truth["value"] in re.findall(r"[a-z]+", after)
