"""Everyday facts: colours, legs, sounds, days, months and seasons."""

from __future__ import annotations

import random
from typing import NamedTuple

from pocket.skills.base import NUMERALS_ZH, Skill, Split, Truth, names_only, numbers_in, phrase, pick_other
from pocket.skills.style import Forms


class Fact(NamedTuple):
    """One fact: its family, the thing and the value, and the same in Chinese where that is natural."""

    family: str
    thing: str
    value: str
    thing_zh: str = ""
    value_zh: str = ""


DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
DAYS_ZH = ["星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日"]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
COLOURS = [
    ("the sky", "blue", "天空", "蓝色"),
    ("grass", "green", "草", "绿色"),
    ("snow", "white", "雪", "白色"),
    ("coal", "black", "煤", "黑色"),
    ("a banana", "yellow", "香蕉", "黄色"),
    ("blood", "red", "血", "红色"),
    ("milk", "white", "牛奶", "白色"),
    ("the sun", "yellow", "太阳", "黄色"),
    ("a lemon", "yellow", "柠檬", "黄色"),
    ("a tomato", "red", "西红柿", "红色"),
    ("a carrot", "orange", "胡萝卜", "橙色"),
    ("chocolate", "brown", "巧克力", "棕色"),
    ("the sea", "blue", "大海", "蓝色"),
    ("a leaf", "green", "树叶", "绿色"),
]
LEGS = [
    ("dog", 4, "狗"),
    ("cat", 4, "猫"),
    ("horse", 4, "马"),
    ("bird", 2, "鸟"),
    ("spider", 8, "蜘蛛"),
    ("ant", 6, "蚂蚁"),
    ("cow", 4, "牛"),
    ("fish", 0, "鱼"),
    ("duck", 2, "鸭子"),
    ("snake", 0, "蛇"),
]
SOUNDS = [
    ("dog", "woof"),
    ("cat", "meow"),
    ("cow", "moo"),
    ("duck", "quack"),
    ("sheep", "baa"),
    ("pig", "oink"),
    ("bee", "buzz"),
    ("lion", "roar"),
    ("snake", "hiss"),
]
COUNTS = [
    ("days are in a week", 7, "一个星期有几天", "天"),
    ("months are in a year", 12, "一年有几个月", "个月"),
    ("hours are in a day", 24, "一天有几个小时", "个小时"),
    ("minutes are in an hour", 60, "一小时有几分钟", "分钟"),
    ("seconds are in a minute", 60, "一分钟有几秒", "秒"),
    ("seasons are in a year", 4, "一年有几个季节", "个季节"),
    ("letters are in the alphabet", 26, "", ""),
    ("fingers are on one hand", 5, "一只手有几根手指", "根手指"),
    ("wheels does a car have", 4, "汽车有几个轮子", "个轮子"),
    ("sides does a triangle have", 3, "三角形有几条边", "条边"),
    ("legs does a chair have", 4, "", ""),
    ("days are in a year", 365, "一年有多少天", "天"),
]
FACTS = (
    [Fact("colour", thing, value, zh, value_zh) for thing, value, zh, value_zh in COLOURS]
    + [Fact("legs", thing, str(n), zh, str(n)) for thing, n, zh in LEGS]
    + [Fact("sound", thing, value) for thing, value in SOUNDS]
    + [Fact("count", thing, str(n), zh, f"{n}{unit}") for thing, n, zh, unit in COUNTS]
    + [Fact("day after", DAYS[i], DAYS[(i + 1) % 7], DAYS_ZH[i], DAYS_ZH[(i + 1) % 7]) for i in range(7)]
    + [Fact("month after", MONTHS[i], MONTHS[(i + 1) % 12], f"{i + 1}月", f"{(i + 1) % 12 + 1}月") for i in range(12)]
    + [Fact("day before", DAYS[(i + 1) % 7], DAYS[i], DAYS_ZH[(i + 1) % 7], DAYS_ZH[i]) for i in range(7)]
)
PHRASINGS = {
    "en": {
        "colour": {
            "train": [
                "What colour is {x}?",
                "What color is {x}?",
                "Which colour is {x}?",
                "Tell me the colour of {x}.",
                "What colour does {x} have?",
            ],
            "held": ["What is the colour of {x}?", "Please tell me what colour {x} is."],
        },
        "legs": {
            "train": [
                "How many legs does a {x} have?",
                "How many legs has a {x}?",
                "Number of legs of a {x}?",
                "Tell me how many legs a {x} has.",
                "How many legs are on a {x}?",
                "Count the legs of a {x}.",
            ],
            "held": ["Do you know how many legs a {x} has?", "A {x} has how many legs?"],
        },
        "sound": {
            "train": [
                "What sound does a {x} make?",
                "What does a {x} say?",
                "Which sound does a {x} make?",
                "How does a {x} sound?",
                "Which noise does a {x} make?",
                "Say what a {x} says.",
            ],
            "held": ["What noise does a {x} make?", "Tell me what sound a {x} makes."],
        },
        "count": {
            "train": ["How many {x}?", "Tell me how many {x}.", "Do you know how many {x}?", "I forgot how many {x}."],
            "held": ["Please tell me how many {x}.", "Can you say how many {x}?"],
        },
        "day after": {
            "train": [
                "What day comes after {x}?",
                "Which day is after {x}?",
                "What is the day after {x}?",
                "Today is {x}. What day is tomorrow?",
            ],
            "held": ["Which day comes after {x}?", "Tell me the day after {x}."],
        },
        "day before": {
            "train": ["What day comes before {x}?", "Which day is before {x}?", "What is the day before {x}?"],
            "held": ["Which day comes before {x}?", "Tell me the day before {x}."],
        },
        "month after": {
            "train": ["What month comes after {x}?", "Which month is after {x}?", "What is the month after {x}?"],
            "held": ["Which month comes after {x}?", "Tell me the month after {x}."],
        },
    },
    "zh": {
        "colour": {
            "train": [
                "{x}是什么颜色？",
                "{x}是什么颜色的？",
                "{x}的颜色是什么？",
                "{x}是哪种颜色？",
                "{x}有什么颜色？",
                "告诉我{x}是什么颜色。",
            ],
            "held": ["请问{x}是什么颜色？", "你知道{x}是什么颜色吗？"],
        },
        "legs": {
            "train": [
                "{x}有几条腿？",
                "一只{x}有多少条腿？",
                "{x}有多少条腿？",
                "{x}的腿有几条？",
                "数一数{x}有几条腿。",
            ],
            "held": ["请问{x}有几条腿？"],
        },
        "count": {
            "train": ["{x}？", "你知道{x}吗？", "告诉我{x}。", "我忘了{x}。", "说说{x}。", "{x}呢？"],
            "held": ["请问{x}？"],
        },
        "day after": {
            "train": [
                "{x}的后一天是星期几？",
                "今天是{x}，明天是星期几？",
                "{x}之后是星期几？",
                "{x}后面是星期几？",
                "{x}的第二天是星期几？",
            ],
            "held": ["请问{x}的后一天是星期几？"],
        },
        "day before": {
            "train": ["{x}的前一天是星期几？", "今天是{x}，昨天是星期几？", "{x}之前是星期几？", "{x}前面是星期几？"],
            "held": ["请问{x}的前一天是星期几？"],
        },
        "month after": {
            "train": ["{x}的下一个月是几月？", "{x}之后是几月？", "{x}后面是几月？", "{x}过后是几月？"],
            "held": ["请问{x}的下一个月是几月？"],
        },
    },
}
SENTENCES = {
    "colour": "{X} is {v}.",
    "legs": "A {x} has {v} legs.",
    "sound": "A {x} says {v}.",
    "day after": "{v} comes after {x}.",
    "day before": "{v} comes before {x}.",
    "month after": "{v} comes after {x}.",
}
SENTENCES_ZH = {
    "colour": "{x}是{v}的。",
    "legs": "{x}有{v}条腿。",
    "day after": "{x}的后一天是{v}。",
    "day before": "{x}的前一天是{v}。",
    "month after": "{x}的下一个月是{v}。",
}
MORE = {
    "colour": "You can see that when you look at it by day.",
    "legs": "You can count them if it stands still.",
    "sound": "It is easy to hear.",
    "count": "That is the same everywhere.",
    "day after": "After that the week goes on.",
    "day before": "The week goes on from there.",
    "month after": "The year goes on from there.",
}


class Facts(Skill):
    """Small facts, most of them in both languages."""

    name = "facts"
    languages = ("en", "zh")
    holds_operands = False
    weight = 2.2

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[str, Truth]:
        family = rng.choice(
            ["colour", "colour", "legs", "sound", "count", "count", "day after", "day before", "month after"]
        )
        known = [f for f in FACTS if f.family == family and (lang == "en" or f.thing_zh)]
        if not known:
            return self.draw(rng, lang, split)
        fact = rng.choice(known)
        thing, value = (fact.thing_zh, fact.value_zh) if lang == "zh" else (fact.thing, fact.value)
        return phrase(rng, {lang: PHRASINGS[lang][family]}, lang, split, x=thing), {
            "family": family,
            "thing": thing,
            "value": value,
        }

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        family, thing, value = truth["family"], truth["thing"], truth["value"]
        if lang == "zh":
            if family == "count":
                sentence = f"{_asked_zh(thing, value)}。"
            else:
                sentence = SENTENCES_ZH[family].format(x=thing, v=value)
            return Forms(value, sentence, sentence + "这个大家都知道。")
        sentence = (
            _count_sentence(thing, value)
            if family == "count"
            else SENTENCES[family].format(x=thing, X=thing[:1].upper() + thing[1:], v=value)
        )
        return Forms(value[:1].upper() + value[1:], sentence, f"{sentence} {MORE[family]}")

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        family = truth["family"]
        if family in ("legs", "count"):
            number = int("".join(c for c in truth["value"] if c.isdigit()))
            unit = "".join(c for c in truth["value"] if not c.isdigit())
            wrong = rng.choice(
                [n for n in (number + 1, number + 2, abs(number - 1), number + 4, 10, 3, 5, 100) if n != number]
            )
            return {**truth, "value": f"{wrong}{unit}"}
        return {**truth, "value": pick_other(rng, _values(family, lang), truth["value"])}

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        family = truth["family"]
        if family in ("legs", "count"):
            number = int("".join(c for c in truth["value"] if c.isdigit()))
            found = numbers_in(answer, lang)
            unit = truth["value"].lstrip("0123456789")
            if lang == "zh" and unit and not found:
                found = [i for i, numeral in enumerate(NUMERALS_ZH) if numeral + unit in answer]
            return number in found and all(n == number or (n == 1 and number != 1) for n in found)
        rivals = [v for v in _values(family, lang) if v != truth["thing"]]
        if family in ("day after", "day before", "month after"):
            content = answer.replace(truth["thing"], " ") if lang == "zh" else answer
            return names_only(content, truth["value"], rivals)
        return names_only(answer, truth["value"], rivals)


def _values(family: str, lang: str) -> list[str]:
    return sorted(
        {f.value_zh if lang == "zh" else f.value for f in FACTS if f.family == family and (lang == "en" or f.value_zh)}
    )


def _count_sentence(thing: str, value: str) -> str:
    """Return a sentence of a counted fact.

    `days are in a week` and `7` give `There are 7 days in a week.` `wheels does a car have` gives `A car has 4
    wheels.`
    """
    if " does a " in thing:
        what, _, owner = thing.partition(" does a ")
        return f"A {owner.removesuffix(' have')} has {value} {what}."
    what, _, whole = thing.partition(" are ")
    return f"There are {value} {what} {whole}."


def _asked_zh(thing: str, value: str) -> str:
    """Return a Chinese statement: `一年有几个月` and `12个月` give `一年有12个月`."""
    for asked in ("几", "多少"):
        if asked in thing:
            return thing.partition(asked)[0] + value
    return value
