"""Retention: single words between English and Chinese."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import ClassVar

from pocket.skills.base import Skill, Split, Truth, names_only, phrase, pick_other
from pocket.skills.style import Forms

WORDS = [
    ("cat", "猫"),
    ("dog", "狗"),
    ("horse", "马"),
    ("apple", "苹果"),
    ("water", "水"),
    ("tea", "茶"),
    ("book", "书"),
    ("red", "红色"),
    ("blue", "蓝色"),
    ("green", "绿色"),
    ("sun", "太阳"),
    ("moon", "月亮"),
    ("house", "房子"),
    ("friend", "朋友"),
    ("teacher", "老师"),
    ("school", "学校"),
    ("milk", "牛奶"),
    ("tree", "树"),
    ("banana", "香蕉"),
    ("bird", "鸟"),
]
PHRASINGS = {
    "en": {
        "train": [
            "What is {x} in Chinese?",
            "How do you say {x} in Chinese?",
            "Translate {x} into Chinese.",
            "Chinese word for {x}?",
        ],
        "held": ["Please translate {x} into Chinese.", "What is the Chinese word for {x}?"],
    },
    "zh": {
        "train": [
            "“{x}”用英语怎么说？",
            "{x}的英语是什么？",
            "把“{x}”翻译成英语。",
            "{x}用英语怎么说？",
            "“{x}”的英语是什么？",
            "英语里“{x}”怎么说？",
        ],
        "held": ["请问“{x}”用英语怎么说？", "请把“{x}”翻译成英语。"],
    },
}


class Translating(Skill):
    """Twenty words; a prompt in English asks for Chinese, and the reverse."""

    name = "translating"
    languages = ("en", "zh")
    retention = True
    holds_operands = False
    moods: ClassVar[Mapping[str, float]] = {"plain": 0.7, "short": 0.15, "full": 0.15}

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[str, Truth]:
        en, zh = rng.choice(WORDS)
        word, value = (en, zh) if lang == "en" else (zh, en)
        return phrase(rng, PHRASINGS, lang, split, x=word), {"word": word, "value": value}

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        word, value = truth["word"], truth["value"]
        if lang == "zh":
            return Forms(value, f"“{word}”用英语说是 {value}。", f"英语里“{word}”叫作 {value}。")
        return Forms(value, f"In Chinese, {word} is {value}.", f"The Chinese word for {word} is {value}.")

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        return {**truth, "value": pick_other(rng, [zh if lang == "en" else en for en, zh in WORDS], truth["value"])}

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        rivals = [zh if lang == "en" else en for en, zh in WORDS]
        return names_only(answer, truth["value"], rivals)
