"""Converting small amounts between units of time, length, weight and number."""

from __future__ import annotations

import random

from pocket.skills.base import NUMBER_WORDS, Skill, Split, Truth, numbers_in, phrase
from pocket.skills.style import Forms

# (from one, from many, to, zh from, zh to, factor, amounts held out in English, amounts held out in Chinese). Several
# pairs of units share a factor, with different amounts held out. What is held out in one language is trained in the
# other. A factor with one pair has nothing held out: a model of this size cannot compute the product.
UNITS = [
    ("hour", "hours", "minutes", "小时", "分钟", 60, (3, 7), (4, 8)),
    ("minute", "minutes", "seconds", "分钟", "秒", 60, (4, 8), (3, 7)),
    ("week", "weeks", "days", "星期", "天", 7, (), ()),
    ("year", "years", "months", "年", "个月", 12, (3, 7), (5, 9)),
    ("dozen", "dozen", "eggs", "打", "个", 12, (2, 5), (3, 7)),
    ("foot", "feet", "inches", "英尺", "英寸", 12, (4, 9), (2, 6)),
    ("kilometre", "kilometres", "metres", "公里", "米", 1000, (3, 6), (4, 8)),
    ("kilogram", "kilograms", "grams", "公斤", "克", 1000, (4, 8), (2, 5)),
    ("litre", "litres", "millilitres", "升", "毫升", 1000, (2, 7), (3, 9)),
    ("metre", "metres", "centimetres", "米", "厘米", 100, (3, 7), (2, 5)),
    ("euro", "euros", "cents", "欧元", "欧分", 100, (2, 6), (4, 8)),
    ("day", "days", "hours", "天", "小时", 24, (), ()),
]
PHRASINGS = {
    "en": {
        "train": [
            "How many {to} are in {n} {of}?",
            "Convert {n} {of} to {to}.",
            "How many {to} are there in {n} {of}?",
            "{n} {of} in {to}?",
            "What is {n} {of} in {to}?",
            "Please turn {n} {of} into {to}.",
            "Change {n} {of} to {to}.",
            "How many {to} make {n} {of}?",
            "How many {to} does one get from {n} {of}?",
            "{n} {of}: how many {to}?",
            "Express {n} {of} in {to}.",
            "I have {n} {of}. How many {to} is that?",
            "Give me {n} {of} in {to}.",
        ],
        "held": [
            "How many {to} do {n} {of} have?",
            "Please convert {n} {of} to {to}.",
            "Can you convert {n} {of} into {to}?",
        ],
    },
    "zh": {
        "train": [
            "{n}{of}等于多少{to}？",
            "{n}{of}是多少{to}？",
            "把{n}{of}换算成{to}。",
            "{n}{of}有多少{to}？",
            "{n}{of}是几{to}？",
            "{n}{of}合多少{to}？",
            "{n}{of}换成{to}是多少？",
            "将{n}{of}换算为{to}。",
            "{n}{of}一共有多少{to}？",
        ],
        "held": ["请问{n}{of}等于多少{to}？", "请把{n}{of}换算成{to}。"],
    },
}


class Units(Skill):
    """Amounts from 1 to 9 in another unit."""

    name = "units"
    languages = ("en", "zh")
    weight = 2.4
    practice = 6.0

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[str, Truth]:
        while True:
            one, many, to, zh_of, zh_to, factor, *held = rng.choice(UNITS)
            n = rng.randint(1, 4 if factor == 24 else 9)
            if (n in held[lang == "zh"]) == (split == "held"):
                break
        if lang == "zh":
            truth: Truth = {"n": n, "of": zh_of, "to": zh_to, "factor": factor, "value": n * factor}
            return phrase(rng, PHRASINGS, lang, split, n=n, of=zh_of, to=zh_to), truth
        of = one if n == 1 else many
        shown = NUMBER_WORDS[n] if rng.random() < 0.2 else n
        truth = {"n": n, "of": of, "to": to, "factor": factor, "value": n * factor}
        return phrase(rng, PHRASINGS, lang, split, n=shown, of=of, to=to), truth

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        n, of, to, factor, value = truth["n"], truth["of"], truth["to"], truth["factor"], truth["value"]
        if lang == "zh":
            return Forms(
                f"{value}{to}", f"{n}{of}等于{value}{to}。", f"1{of}等于{factor}{to}，所以{n}{of}等于{value}{to}。"
            )
        verb = "is" if n == 1 else "are"
        return Forms(
            f"{value} {to}",
            f"{n} {of} {verb} {value} {to}.",
            f"Multiply {n} by {factor}: {n} {of} {verb} {value} {to}.",
        )

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        wrong = [
            (truth["n"] + 1) * truth["factor"],
            truth["n"] * rng.choice((10, 12, 100, 60, 7, 1000, 30)),
            truth["value"] * 10,
            truth["value"] + 10,
            truth["value"] + 2,
        ]
        return {**truth, "value": rng.choice([w for w in wrong if w != truth["value"]])}

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        found = numbers_in(answer, lang)
        return bool(found) and found[-1] == truth["value"]
