"""Answers in a requested form: one word, a sentence with a given word, a numbered list, JSON."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from typing import ClassVar

from pocket.skills.base import NUMBER_WORDS, Prompt, Skill, Split, Truth, is_held, phrase
from pocket.skills.facts import COLOURS
from pocket.skills.style import Forms, without_fragments
from pocket.skills.words import CATEGORIES, NAMES

PHRASINGS = {
    "en": {
        "one word": {
            "train": [
                "Answer in one word: what colour is {x}?",
                "In one word: what colour is {x}?",
                "What colour is {x}? One word only.",
                "What colour is {x}? Answer with one word.",
                "What colour is {x}? Just one word.",
                "Say in one word what colour {x} is.",
                "One word only: what colour is {x}?",
                "Using one word, what colour is {x}?",
            ],
            "held": ["Answer with one word: what colour is {x}?", "What colour is {x}? Answer in one word."],
        },
        "sentence": {
            "train": [
                "Write a sentence with the word {x}.",
                "Make a sentence with {x}.",
                "Use {x} in a sentence.",
                "Write one sentence about a {x}.",
                "Write a sentence with {x} in it.",
                "Say a sentence with the word {x}.",
                "Give me a sentence with the word {x}.",
                "Use the word {x} in a sentence.",
            ],
            "held": ["Please write a sentence with the word {x}.", "Make a sentence with the word {x}."],
        },
        "count up": {
            "train": [
                "List the numbers from 1 to {x}.",
                "Count to {x}.",
                "Count from 1 to {x}.",
                "Write the numbers from 1 to {x}.",
                "Count up to {x}.",
                "Give me the numbers from 1 to {x}.",
                "Say the numbers from 1 to {x}.",
                "Can you count to {x}?",
                "Count from one to {x}.",
            ],
            "held": ["Please count to {x}.", "Please list the numbers from 1 to {x}."],
        },
        "json": {
            "train": [
                "Write JSON with name {x} and age {n}.",
                "Give me JSON: name {x}, age {n}.",
                "Make a JSON object with name {x} and age {n}.",
                "Put this in JSON: name {x}, age {n}.",
                "Write a JSON object with name {x} and age {n}.",
                "As JSON: name {x}, age {n}.",
                "Make JSON with the name {x} and the age {n}.",
            ],
            "held": [
                "Please write JSON with name {x} and age {n}.",
                "Give me a JSON object with name {x} and age {n}.",
            ],
        },
        "upper": {
            "train": [
                "Write {x} in capital letters.",
                "Put {x} in capitals.",
                "Write {x} in upper case.",
                "Put {x} in capital letters.",
                "Turn {x} into capitals.",
                "Make {x} upper case.",
                "Write the word {x} in capitals.",
            ],
            "held": ["Please write {x} in capital letters.", "Put {x} in upper case."],
        },
    }
}
SUBJECTS = [
    "cat",
    "dog",
    "horse",
    "house",
    "book",
    "tree",
    "car",
    "bird",
    "table",
    "river",
    "garden",
    "friend",
    "teacher",
    "apple",
    "boat",
]
SENTENCES = [
    "I see a {x} every day.",
    "My {x} is very old.",
    "The {x} is near the road.",
    "She likes the {x}.",
    "There is a {x} in the picture.",
    "We found a small {x}.",
]
UPPER = CATEGORIES["colours"] + CATEGORIES["fruits"] + SUBJECTS


class Formats(Skill):
    """An answer is right only in the requested form: a sentence is wrong where one word is requested.

    Held-out operands are the words for a sentence, and the names and ages of the JSON.
    """

    name = "formats"
    weight = 1.6
    practice = 2.5
    moods: ClassVar[Mapping[str, float]] = {
        "plain": 0.5,
        "short": 0.2,
        "full": 0.12,
        "friendly": 0.06,
        "rambling": 0.05,
        "rude": 0.03,
        "decorated": 0.04,
    }

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[str, Truth]:
        kind = rng.choice(list(PHRASINGS["en"]))
        table = {"en": PHRASINGS["en"][kind]}
        if kind == "one word":
            thing, colour, _, _ = rng.choice(COLOURS)
            return phrase(rng, table, lang, split, x=thing), {"kind": kind, "thing": thing, "value": colour}
        if kind == "count up":
            n = rng.choice((3, 5, 6, 8, 9, 10))
            return phrase(rng, table, lang, split, x=rng.choice((n, NUMBER_WORDS[n]))), {"kind": kind, "n": n}
        while True:
            name, age = rng.choice(NAMES), rng.randint(2, 60)
            word = rng.choice(SUBJECTS if kind == "sentence" else UPPER)
            held = is_held(*((name, age) if kind == "json" else (kind, word)), one_in=6, salt="formats")
            if held == (
                split == "held" and kind != "upper"
            ):  # capitals of a word are known or not: only the phrasing is held out
                break
        if kind == "json":
            return phrase(rng, table, lang, split, x=name, n=age), {"kind": kind, "name": name, "age": age}
        return phrase(rng, table, lang, split, x=word), {"kind": kind, "word": word}

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        kind = truth["kind"]
        if kind == "one word":
            value = truth["value"].capitalize()
            return Forms(value, value + ".", value + ".")
        if kind == "sentence":
            content = rng.choice(SENTENCES).format(x=truth["word"])
            return Forms(content, content, content.rstrip(".") + ", and I am glad about that.")
        if kind == "count up":
            numbers = [str(i) for i in range(1, truth["n"] + 1)]
            return Forms(" ".join(numbers), ", ".join(numbers) + ".", "\n".join(numbers))
        if kind == "json":
            content = json.dumps({"name": truth["name"], "age": truth["age"]})
            return Forms(content, content, f"Here is the JSON:\n{content}")
        return Forms(
            truth["word"].upper(), truth["word"].upper() + ".", f"In capital letters: {truth['word'].upper()}."
        )

    def right_answer(self, rng: random.Random, prompt: Prompt) -> str:
        forms = self.forms(rng, prompt.lang, prompt.truth)
        for _ in range(8):
            answer = super().right_answer(rng, prompt)
            if self.is_right(prompt.lang, prompt.truth, answer):
                return answer
        return forms.sentence

    def _flawed(self, rng: random.Random, prompt: Prompt) -> str:
        truth, chance = prompt.truth, rng.random()
        if chance < 0.1:
            return "I do not know that."
        if truth["kind"] == "one word":
            thing = truth["thing"][:1].upper() + truth["thing"][1:]
            other = rng.choice([c for _, c, _, _ in COLOURS if c != truth["value"]])
            return rng.choice(
                (
                    f"{thing} is {truth['value']}.",
                    f"{other.capitalize()}.",
                    f"{thing} is {other}.",
                    f"I think that {truth['thing']} is {truth['value']}.",
                )
            )
        if truth["kind"] == "sentence":
            other = rng.choice([s for s in SUBJECTS if s != truth["word"]])
            return rng.choice(
                (rng.choice(SENTENCES).format(x=other), truth["word"].capitalize() + ".", f"The {truth['word']}")
            )
        if truth["kind"] == "count up":
            wrong = [str(i) for i in range(1, truth["n"] + rng.choice((0, 2, 3)))]
            wrong = wrong if rng.random() < 0.6 else wrong[:1] + wrong[2:]
            return rng.choice((", ", " ")).join(wrong) + "."
        if truth["kind"] == "json":
            name, age = truth["name"], truth["age"]
            return rng.choice(
                (
                    f"name: {name}, age: {age}",
                    f'{{"name": "{name}", "age": {age}',
                    f"{name} is {age} years old.",
                    f'{{"name": "{name}", "age": {age + 1}}}',
                    f"{{name: {name}, age: {age}}}",
                )
            )
        return rng.choice(
            (
                truth["word"] + ".",
                truth["word"].capitalize() + ".",
                truth["word"][:-1].upper() + ".",
                rng.choice([w for w in UPPER if w != truth["word"]]).upper() + ".",
            )
        )

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        text = without_fragments(answer)
        kind = truth["kind"]
        if kind == "one word":
            return re.findall(r"[a-z]+", text.lower()) == [truth["value"]]
        if kind == "sentence":
            words = re.findall(r"[A-Za-z]+", text)
            return truth["word"] in [w.lower() for w in words] and len(words) >= 4
        if kind == "count up":
            return [int(n) for n in re.findall(r"\d+", text)] == list(range(1, truth["n"] + 1))
        if kind == "upper":
            return truth["word"].upper() in re.findall(r"[A-Z]{2,}", text)
        found = re.search(r"\{.*?\}", text, re.DOTALL)
        try:
            return found is not None and json.loads(found.group()) == {"name": truth["name"], "age": truth["age"]}
        except json.JSONDecodeError:
            return False
