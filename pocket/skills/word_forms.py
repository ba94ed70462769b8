"""Plurals of nouns and past tenses of verbs."""

from __future__ import annotations

import random

from pocket.skills.base import Skill, Split, Truth, names_only, phrase
from pocket.skills.style import Forms

PLURALS = {
    "cat": "cats",
    "dog": "dogs",
    "house": "houses",
    "child": "children",
    "man": "men",
    "woman": "women",
    "mouse": "mice",
    "foot": "feet",
    "tooth": "teeth",
    "goose": "geese",
    "box": "boxes",
    "bus": "buses",
    "city": "cities",
    "baby": "babies",
    "leaf": "leaves",
    "knife": "knives",
    "wolf": "wolves",
    "sheep": "sheep",
    "fish": "fish",
    "tree": "trees",
    "book": "books",
    "apple": "apples",
    "glass": "glasses",
    "story": "stories",
    "potato": "potatoes",
    "day": "days",
    "key": "keys",
    "person": "people",
    "dish": "dishes",
    "car": "cars",
}
PASTS = {
    "go": "went",
    "see": "saw",
    "eat": "ate",
    "run": "ran",
    "walk": "walked",
    "sing": "sang",
    "write": "wrote",
    "take": "took",
    "give": "gave",
    "come": "came",
    "make": "made",
    "buy": "bought",
    "think": "thought",
    "drink": "drank",
    "sleep": "slept",
    "play": "played",
    "find": "found",
    "know": "knew",
    "swim": "swam",
    "fly": "flew",
    "speak": "spoke",
    "break": "broke",
    "bring": "brought",
    "teach": "taught",
    "catch": "caught",
    "jump": "jumped",
    "read": "read",
    "leave": "left",
    "say": "said",
    "stop": "stopped",
}
PHRASINGS = {
    "en": {
        "plural": {
            "train": [
                "What is the plural of {x}?",
                "Plural of {x}?",
                "Give me the plural of {x}.",
                "What's the plural of {x}?",
                "Tell me the plural of {x}.",
                "One {x}, two what?",
                "Say the plural form of {x}.",
                "I need the plural form of {x}.",
                "How do you write the plural of {x}?",
            ],
            "held": ["Please give the plural of {x}.", "What is the plural form of {x}?"],
        },
        "past": {
            "train": [
                "What is the past tense of {x}?",
                "Past tense of {x}?",
                "Give me the past tense of {x}.",
                "What's the past tense of {x}?",
                "Tell me the past tense of {x}.",
                "Put {x} into the past tense.",
                "Say the past form of {x}.",
                "I need the past form of {x}.",
                "How do you write the past tense of {x}?",
            ],
            "held": ["Please give the past tense of {x}.", "What is the past form of {x}?"],
        },
    }
}


class WordForms(Skill):
    """Thirty nouns and thirty verbs, regular and not."""

    name = "word_forms"
    holds_operands = False
    weight = 1.5
    practice = 0.9

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[str, Truth]:
        kind = rng.choice(("plural", "past"))
        word, value = rng.choice(list((PLURALS if kind == "plural" else PASTS).items()))
        return phrase(rng, {"en": PHRASINGS["en"][kind]}, lang, split, x=word), {
            "kind": kind,
            "word": word,
            "value": value,
        }

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        word, value, kind = truth["word"], truth["value"], truth["kind"]
        name = "plural" if kind == "plural" else "past tense"
        example = f"You can say: two {value}." if kind == "plural" else f"You can say: yesterday I {value}."
        return Forms(
            value.capitalize() + ".", f"The {name} of {word} is {value}.", f"The {name} of {word} is {value}. {example}"
        )

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        word, value = truth["word"], truth["value"]
        ending = "s" if truth["kind"] == "plural" else "ed"
        other = rng.choice(list((PLURALS if truth["kind"] == "plural" else PASTS).values()))
        wrong = [w for w in (word + ending, word + "es", word + "en", value + ending, other) if w != value]
        return {**truth, "value": rng.choice(wrong)}

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        word, value = truth["word"], truth["value"]
        table = PLURALS if truth["kind"] == "plural" else PASTS
        rivals = [v for v in table.values() if v not in (value, word)] + [
            w for w in (word + "s", word + "ed", word + "es", word + "en") if w != value
        ]
        return names_only(answer, value, rivals)
