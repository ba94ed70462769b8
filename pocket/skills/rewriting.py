"""Rewriting a sentence more politely or more briefly."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import ClassVar

from pocket.skills.base import Skill, Split, Truth, is_held, phrase
from pocket.skills.style import Forms, without_fragments

VERBS = ["open", "close", "bring", "take", "move", "clean", "buy", "send", "find", "show", "keep", "hold"]
THINGS = [
    "the door",
    "the window",
    "the book",
    "the box",
    "the letter",
    "the table",
    "the bag",
    "the key",
    "the lamp",
    "the map",
    "the bottle",
    "the chair",
]
PHRASINGS = {
    "en": {
        "polite": {
            "train": [
                "Make this polite: {x}",
                "Say this politely: {x}",
                "Rewrite this politely: {x}",
                "Make this more polite: {x}",
                "How do I say this politely? {x}",
                "Put this politely: {x}",
                "Turn this into a polite request: {x}",
            ],
            "held": ["Please make this polite: {x}", "Say this more politely: {x}"],
        },
        "brief": {
            "train": [
                "Make this shorter: {x}",
                "Say this in fewer words: {x}",
                "Shorten this: {x}",
                "Make this brief: {x}",
                "Say this more briefly: {x}",
            ],
            "held": ["Please make this shorter: {x}", "Please shorten this: {x}"],
        },
    }
}
LONG = [
    "I would like to ask you whether you could {x}.",
    "It would be very good if you could {x} when you have the time.",
    "I am writing to you since I want you to {x}.",
    "Could you perhaps be so kind as to {x} for me today?",
]
BLUNT = ["{X}.", "{X} now!", "{X}, quick.", "I want you to {x}."]


class Rewriting(Skill):
    """Orders with a verb and a thing; training has no held-out pair of the two."""

    name = "rewriting"
    weight = 1.3
    moods: ClassVar[Mapping[str, float]] = {
        "plain": 0.46,
        "short": 0.14,
        "full": 0.12,
        "friendly": 0.08,
        "rambling": 0.08,
        "rude": 0.04,
        "decorated": 0.05,
        "messy": 0.03,
    }

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[str, Truth]:
        kind = rng.choice(("polite", "brief"))
        while True:
            verb, thing = rng.choice(VERBS), rng.choice(THINGS)
            if is_held(verb, thing, salt="rewriting") == (split == "held"):
                break
        act = f"{verb} {thing}"
        sentence = rng.choice(BLUNT if kind == "polite" else LONG).format(x=act, X=act.capitalize())
        return phrase(rng, {"en": PHRASINGS["en"][kind]}, lang, split, x=sentence), {
            "kind": kind,
            "verb": verb,
            "thing": thing,
            "said": sentence,
        }

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        act = f"{truth['verb']} {truth['thing']}"
        if "as" in truth:
            return Forms(truth["as"], truth["as"], truth["as"])
        if truth["kind"] == "polite":
            return Forms(f"Please {act}.", f"Could you please {act}?", f"Excuse me, could you please {act}? Thank you.")
        return Forms(f"{act.capitalize()}.", f"Please {act}.", f"Please {act}. That says the same in fewer words.")

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        verb, thing = rng.choice(VERBS), rng.choice(THINGS)
        chance = rng.random()
        if chance < 0.5:
            return {**truth, "verb": verb} if rng.random() < 0.5 else {**truth, "thing": thing}
        if chance < 0.75:
            return {**truth, "as": truth["said"]}
        if truth["kind"] == "polite":
            return {**truth, "as": f"{truth['verb'].capitalize()} {truth['thing']} at once!"}
        return {
            **truth,
            "as": f"I would like to ask you very kindly whether you could {truth['verb']} {truth['thing']} today.",
        }

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        text = " ".join(without_fragments(answer).lower().split())
        if (
            f"{truth['verb']} {truth['thing']}" not in text
            or len(re.findall(r"the \w+", text.replace("the same", ""))) != 1
        ):
            return False
        if truth["kind"] == "polite":
            return re.search(r"please|could you|would you|may i", text) is not None and "now!" not in text
        return len(re.findall(r"[a-z]+", text.split("that says")[0])) <= 5
