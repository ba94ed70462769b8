"""Sorting a short list, or picking from it."""

from __future__ import annotations

import random
import re

from pocket.skills.base import Skill, Split, Truth, is_held, numbers_in, phrase
from pocket.skills.style import Forms, without_fragments
from pocket.skills.words import CATEGORIES

PHRASINGS = {
    "en": {
        "sort words": {
            "train": [
                "Sort these: {x}.",
                "Sort these words: {x}.",
                "Put these in alphabetical order: {x}.",
                "Sort {x}.",
                "Order these words: {x}.",
                "Please sort: {x}.",
                "Sort the words {x}.",
                "From A to Z: {x}.",
            ],
            "held": ["Please sort these words: {x}.", "Put these words in alphabetical order: {x}."],
        },
        "sort numbers": {
            "train": [
                "Sort these: {x}.",
                "Sort these numbers: {x}.",
                "Put these numbers in order: {x}.",
                "Sort {x}.",
                "Order these from small to large: {x}.",
                "Please sort: {x}.",
                "Sort the numbers {x}.",
                "From small to large: {x}.",
            ],
            "held": ["Please sort these numbers: {x}.", "Put these in order from small to large: {x}."],
        },
        "largest": {
            "train": [
                "Which is the largest: {x}?",
                "What is the largest of {x}?",
                "Pick the largest number: {x}.",
                "Find the largest: {x}.",
                "Which of these is the largest: {x}?",
                "The largest number of {x}?",
            ],
            "held": ["Which number is the largest: {x}?", "Find the largest number: {x}."],
        },
        "smallest": {
            "train": [
                "Which is the smallest: {x}?",
                "What is the smallest of {x}?",
                "Pick the smallest number: {x}.",
                "Find the smallest: {x}.",
                "Which of these is the smallest: {x}?",
                "The smallest number of {x}?",
            ],
            "held": ["Which number is the smallest: {x}?", "Find the smallest number: {x}."],
        },
    },
    "zh": {
        "sort numbers": {
            "train": [
                "把这些数从小到大排列：{x}。",
                "从小到大排序：{x}。",
                "请排序：{x}。",
                "把{x}从小到大排列。",
                "按从小到大的顺序排列：{x}。",
                "给这些数排序：{x}。",
                "把下面的数排好：{x}。",
            ],
            "held": ["请把这些数从小到大排列：{x}。", "请从小到大排序：{x}。"],
        },
        "largest": {
            "train": [
                "哪个最大：{x}？",
                "{x}里最大的是哪个？",
                "找出最大的数：{x}。",
                "{x}中最大的数是什么？",
                "最大的数是哪个：{x}？",
                "{x}，哪个最大？",
            ],
            "held": ["请问哪个最大：{x}？", "请找出最大的数：{x}。"],
        },
        "smallest": {
            "train": [
                "哪个最小：{x}？",
                "{x}里最小的是哪个？",
                "找出最小的数：{x}。",
                "{x}中最小的数是什么？",
                "最小的数是哪个：{x}？",
                "{x}，哪个最小？",
            ],
            "held": ["请问哪个最小：{x}？", "请找出最小的数：{x}。"],
        },
    },
}
WORDS = CATEGORIES["fruits"] + CATEGORIES["animals"]


class Sorting(Skill):
    """Three words or three numbers up to 20; training has no held-out set of items in any order."""

    name = "sorting"
    languages = ("en", "zh")
    weight = 3.4
    practice = 9.0

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[str, Truth]:
        kinds = (
            ("sort words", "sort numbers", "largest", "smallest")
            if lang == "en"
            else ("sort numbers", "largest", "smallest")
        )
        kind = rng.choice(kinds)
        while True:
            group = CATEGORIES["fruits"] if rng.random() < 0.5 else CATEGORIES["animals"]
            items = rng.sample(group, 3) if kind == "sort words" else [str(n) for n in rng.sample(range(1, 21), 3)]
            if is_held(*sorted(items), salt="sorting") == (split == "held") or (
                split == "train" and set(items) == {"pear", "apple", "fig"}
            ):
                break
        order = sorted(items) if kind == "sort words" else sorted(items, key=int)
        value = {"largest": order[-1], "smallest": order[0]}.get(kind, ", ".join(order))
        shown = (", " if lang == "en" else "、").join(items)
        return phrase(rng, {lang: PHRASINGS[lang][kind]}, lang, split, x=shown), {
            "kind": kind,
            "items": items,
            "value": value,
        }

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        kind, value = truth["kind"], truth["value"]
        if lang == "zh":
            value = value.replace(", ", "、")
            sentence = {"largest": f"最大的是{value}。", "smallest": f"最小的是{value}。"}.get(
                kind, f"从小到大是：{value}。"
            )
            return Forms(value, sentence, "我比较了这几个数，" + sentence)
        if kind.startswith("sort"):
            how = "In alphabetical order" if kind == "sort words" else "From small to large"
            return Forms(
                value,
                f"{how}: {value}." if rng.random() < 0.3 else f"{value[:1].upper()}{value[1:]}.",
                f"I put them in order for you. {how} they are: {value}.",
            )
        return Forms(value, f"The {kind} is {value}.", f"I looked at all of them, and the {kind} number is {value}.")

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        items = truth["items"]
        if truth["kind"] in ("largest", "smallest"):
            return {**truth, "value": rng.choice([i for i in items if i != truth["value"]])}
        mixed = rng.sample(items, len(items))
        return {**truth, "value": ", ".join(mixed if rng.random() < 0.8 else sorted(items)[:2])}

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        if truth["kind"] in ("largest", "smallest"):
            return numbers_in(answer, lang)[-1:] == [int(truth["value"])]
        found = (
            re.findall(r"\d+", without_fragments(answer))
            if truth["kind"] == "sort numbers"
            else [w for w in re.findall(r"[a-z]+", without_fragments(answer).lower()) if w in WORDS]
        )
        return found == truth["value"].split(", ")
