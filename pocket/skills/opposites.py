"""Opposites of common words."""

from __future__ import annotations

import random

from pocket.skills.base import Skill, Split, Truth, names_only, phrase, pick_other
from pocket.skills.style import Forms, without_fragments

PAIRS_EN = [
    ("hot", "cold"),
    ("big", "small"),
    ("tall", "short"),
    ("fast", "slow"),
    ("happy", "sad"),
    ("old", "young"),
    ("light", "dark"),
    ("hard", "soft"),
    ("up", "down"),
    ("open", "closed"),
    ("full", "empty"),
    ("good", "bad"),
    ("rich", "poor"),
    ("early", "late"),
    ("clean", "dirty"),
    ("strong", "weak"),
    ("loud", "quiet"),
    ("wet", "dry"),
    ("heavy", "weightless"),
    ("thick", "thin"),
    ("near", "far"),
    ("left", "right"),
    ("day", "night"),
    ("first", "last"),
    ("wide", "narrow"),
    ("sweet", "bitter"),
    ("brave", "afraid"),
    ("true", "false"),
    ("begin", "end"),
    ("win", "lose"),
    ("buy", "sell"),
    ("push", "pull"),
    ("love", "hate"),
    ("inside", "outside"),
    ("before", "after"),
    ("cheap", "expensive"),
    ("smooth", "rough"),
    ("awake", "asleep"),
    ("friend", "enemy"),
    ("black", "white"),
]
PAIRS_ZH = [
    ("大", "小"),
    ("高", "低"),
    ("长", "短"),
    ("快", "慢"),
    ("热", "冷"),
    ("多", "少"),
    ("上", "下"),
    ("左", "右"),
    ("好", "坏"),
    ("新", "旧"),
    ("黑", "白"),
    ("早", "晚"),
    ("远", "近"),
    ("开", "关"),
    ("胖", "瘦"),
    ("干", "湿"),
]
PHRASINGS = {
    "en": {
        "train": [
            "What is the opposite of {x}?",
            "Opposite of {x}?",
            "Give me the opposite of {x}.",
            "What's the opposite of {x}?",
            "Name the opposite of {x}.",
            "Which word means the opposite of {x}?",
            "What is the opposite of the word {x}?",
            "Tell me the opposite of {x}.",
            "I need the opposite of {x}.",
        ],
        "held": [
            "Please tell me the opposite of {x}.",
            "Which word is the opposite of {x}?",
            "Can you give me the opposite of {x}?",
        ],
    },
    "zh": {
        "train": [
            "“{x}”的反义词是什么？",
            "{x}的反义词是什么？",
            "{x}的反义词？",
            "请说出“{x}”的反义词。",
            "“{x}”的反义词是哪个？",
            "说出{x}的反义词。",
            "和“{x}”相反的词是什么？",
            "{x}的相反是什么？",
            "告诉我“{x}”的反义词。",
        ],
        "held": ["请问“{x}”的反义词是什么？", "请告诉我{x}的反义词。"],
    },
}
PAIRS = {
    "en": PAIRS_EN + [(b, a) for a, b in PAIRS_EN if b != "weightless"],
    "zh": PAIRS_ZH + [(b, a) for a, b in PAIRS_ZH],
}


class Opposites(Skill):
    """Forty pairs in English and sixteen in Chinese, in both directions."""

    name = "opposites"
    languages = ("en", "zh")
    holds_operands = False
    weight = 1.2
    practice = 0.8

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[str, Truth]:
        word, value = rng.choice(PAIRS[lang])
        return phrase(rng, PHRASINGS, lang, split, x=word), {"word": word, "value": value}

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        word, value = truth["word"], truth["value"]
        if lang == "zh":
            return Forms(value, f"“{word}”的反义词是“{value}”。", f"“{word}”的反义词是“{value}”，意思正好相反。")
        return Forms(
            value.capitalize() + ".",
            f"The opposite of {word} is {value}.",
            f"The opposite of {word} is {value}. The two words mean quite different things.",
        )

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        if rng.random() < 0.15:
            return {**truth, "value": truth["word"]}
        return {**truth, "value": pick_other(rng, [b for _, b in PAIRS[lang]], truth["value"])}

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        text = without_fragments(answer)
        if lang == "zh":
            found = [
                c
                for c in text.replace("反义词", "").replace("意思正好相反", "").replace("大家", "")
                if any(c in pair for pair in PAIRS_ZH)
            ]
            return truth["value"] in found and set(found) <= {truth["word"], truth["value"]}
        rivals = [b for _, b in PAIRS["en"] if b != truth["word"]]
        return names_only(text, truth["value"], rivals)
