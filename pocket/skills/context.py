"""Using earlier turns: a name, a home, a liking, a possession, the last result."""

from __future__ import annotations

import random

from pocket.skills.arithmetic import near
from pocket.skills.base import Message, Skill, Split, Truth, is_held, names_only, numbers_in, pick_other
from pocket.skills.style import Forms
from pocket.skills.words import NAMES, NAMES_ZH

THINGS = ["car", "hat", "bag", "coat", "house", "bike", "cat", "cup"]
THING_COLOURS = ["red", "blue", "green", "black", "white", "brown", "yellow"]
THINGS_ZH = ["车", "帽子", "包", "大衣", "房子", "猫"]
COLOURS_ZH = ["红色", "蓝色", "绿色", "黑色", "白色", "黄色"]
HOMES = ["Paris", "London", "Rome", "Berlin", "Madrid", "Tokyo", "Vienna", "Oslo", "Cairo", "Lima"]
HOMES_ZH = ["北京", "巴黎", "伦敦", "罗马", "东京", "柏林"]
LIKINGS = ["tea", "coffee", "apples", "music", "tennis", "bread", "dogs", "cats", "books", "football"]
LIKINGS_ZH = ["茶", "咖啡", "苹果", "音乐", "足球", "狗", "猫", "书"]
STATEMENTS = {
    "en": {
        "name": {
            "train": [
                "My name is {v}.",
                "I am {v}.",
                "Hello, I am {v}.",
                "Call me {v}.",
                "Hey, my name is {v}.",
                "I am called {v}.",
            ],
            "held": ["Hello, my name is {v}.", "Hi, I am {v}."],
        },
        "colour": {
            "train": ["My {t} is {v}.", "I have a {v} {t}.", "I bought a {v} {t}."],
            "held": ["I own a {v} {t}.", "You know, my {t} is {v}."],
        },
        "home": {
            "train": ["I live in {v}.", "I come from {v}.", "My home is in {v}.", "I am from {v}.", "We live in {v}."],
            "held": ["My home town is {v}."],
        },
        "liking": {
            "train": [
                "I like {v}.",
                "I love {v}.",
                "I like {v} a lot.",
                "My favourite thing is {v}.",
                "I am fond of {v}.",
            ],
            "held": ["I really like {v}."],
        },
    },
    "zh": {
        "name": {
            "train": [
                "我叫{v}。",
                "我的名字是{v}。",
                "你好，我是{v}。",
                "我是{v}。",
                "叫我{v}吧。",
                "你好，我的名字叫{v}。",
                "大家叫我{v}。",
            ],
            "held": ["你好，我叫{v}。"],
        },
        "colour": {
            "train": [
                "我的{t}是{v}的。",
                "我有{v}的{t}。",
                "我买了{v}的{t}。",
                "我家的{t}是{v}的。",
                "告诉你，我的{t}是{v}的。",
                "这是我的{t}，它是{v}的。",
            ],
            "held": ["你知道吗，我的{t}是{v}的。"],
        },
        "home": {
            "train": ["我住在{v}。", "我家在{v}。", "我来自{v}。", "我是{v}人。", "我们住在{v}。"],
            "held": ["我现在住在{v}。"],
        },
        "liking": {
            "train": ["我喜欢{v}。", "我很喜欢{v}。", "我爱{v}。", "我最喜欢{v}。"],
            "held": ["我特别喜欢{v}。"],
        },
    },
}
ASK = {
    "en": {
        "name": {
            "train": [
                "What is my name?",
                "Who am I?",
                "Do you know my name?",
                "What am I called?",
                "Can you remember my name?",
                "You remember my name?",
                "Do you still know who I am?",
                "Say my name.",
            ],
            "held": ["Do you remember my name?", "Tell me my name."],
        },
        "colour": {
            "train": [
                "What colour is my {t}?",
                "Which colour is my {t}?",
                "Do you know the colour of my {t}?",
                "Do you remember the colour of my {t}?",
                "What color is my {t}?",
            ],
            "held": ["Tell me what colour my {t} is.", "What is the colour of my {t}?"],
        },
        "home": {
            "train": [
                "Where do I live?",
                "In which city do I live?",
                "Where is my home?",
                "Do you know where I live?",
                "Can you remember where I live?",
                "Say where I live.",
            ],
            "held": ["Do you remember where I live?", "Tell me where I live."],
        },
        "liking": {
            "train": [
                "What do I like?",
                "Do you know what I like?",
                "What was it that I like?",
                "Which thing do I like?",
            ],
            "held": ["Do you remember what I like?", "Tell me what I like."],
        },
    },
    "zh": {
        "name": {
            "train": [
                "我叫什么名字？",
                "我是谁？",
                "你知道我叫什么吗？",
                "我的名字是什么？",
                "我叫什么？",
                "你记得我叫什么吗？",
                "说出我的名字。",
                "你还记得我是谁吗？",
            ],
            "held": ["你还记得我的名字吗？"],
        },
        "colour": {
            "train": [
                "我的{t}是什么颜色？",
                "我的{t}是什么颜色的？",
                "你知道我的{t}是什么颜色吗？",
                "我的{t}的颜色是什么？",
                "告诉我我的{t}是什么颜色。",
                "你记得我的{t}是什么颜色吗？",
            ],
            "held": ["请问我的{t}是什么颜色？"],
        },
        "home": {
            "train": ["我住在哪里？", "我家在哪里？", "你知道我住在哪里吗？", "我住在哪个城市？"],
            "held": ["你还记得我住在哪里吗？"],
        },
        "liking": {
            "train": ["我喜欢什么？", "你知道我喜欢什么吗？", "我最喜欢的是什么？", "我说过我喜欢什么？"],
            "held": ["你还记得我喜欢什么吗？"],
        },
    },
}
NOTED: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "name": ("Nice to meet you, {v}.", "Hello {v}!", "Hello! How can I help you?"),
        "colour": ("That sounds nice.", "A {v} {t}, how nice.", "I see."),
        "home": ("{v} is a nice place.", "I see.", "How nice!"),
        "liking": ("How nice!", "I see, you like {v}.", "That sounds nice."),
    },
    "zh": {
        "name": ("很高兴认识你，{v}。", "你好！"),
        "colour": ("真不错。", "我知道了。"),
        "home": ("{v}是个好地方。", "我知道了。"),
        "liking": ("我知道了，你喜欢{v}。", "真不错。"),
    },
}
FIRST = {"en": ("What is {a} {op} {b}?", "{a} {op} {b}?"), "zh": ("{a}{op}{b}等于多少？", "{a}{op}{b}是多少？")}
THEN = {
    "en": {
        "double": {
            "train": [
                "And times two?",
                "And times 2?",
                "Now double it.",
                "Times two?",
                "And doubled?",
                "Now times 2.",
                "Then times two?",
            ],
            "held": ["And now times two?", "And double that?"],
        },
        "more": {
            "train": [
                "And plus {n}?",
                "Now add {n}.",
                "Add {n} to that.",
                "Plus {n}?",
                "Then plus {n}?",
                "Now plus {n}.",
                "And with {n} more?",
            ],
            "held": ["And now plus {n}?", "Please add {n}."],
        },
    },
    "zh": {
        "double": {
            "train": ["再乘2呢？", "再乘以2？", "乘2呢？", "再乘二呢？", "现在乘2。", "然后乘以2呢？", "再翻一倍呢？"],
            "held": ["那再乘2呢？"],
        },
        "more": {
            "train": ["再加{n}呢？", "再加{n}？", "加{n}呢？", "现在加{n}。", "然后加{n}呢？", "再加上{n}等于多少？"],
            "held": ["那再加{n}呢？"],
        },
    },
}


VALUES = {
    "en": {"name": NAMES, "colour": THING_COLOURS, "home": HOMES, "liking": LIKINGS},
    "zh": {"name": NAMES_ZH, "colour": COLOURS_ZH, "home": HOMES_ZH, "liking": LIKINGS_ZH},
}
RECALLED = {
    "en": {
        "name": "Your name is {v}.",
        "colour": "Your {t} is {v}.",
        "home": "You live in {v}.",
        "liking": "You like {v}.",
    },
    "zh": {"name": "你叫{v}。", "colour": "你的{t}是{v}的。", "home": "你住在{v}。", "liking": "你喜欢{v}。"},
}


class Context(Skill):
    """Questions that only the earlier turns answer."""

    name = "context"
    languages = ("en", "zh")
    weight = 3.0
    practice = 6.0

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[list[Message], Truth]:
        kind = rng.choices(("name", "colour", "home", "liking", "sum"), weights=(3, 3, 1, 1, 3))[0]
        return self._sum(rng, lang, split) if kind == "sum" else self._statement(rng, lang, split, kind)

    def _statement(self, rng: random.Random, lang: str, split: Split, kind: str) -> tuple[list[Message], Truth]:
        things, values = THINGS if lang == "en" else THINGS_ZH, self._values(lang, kind)
        while True:
            thing, value = rng.choice(things), rng.choice(values)
            # What has no other operand than the value is held out with its wording.
            statement = rng.choice(STATEMENTS[lang][kind][split])
            if kind != "colour" or is_held(thing, value, one_in=6, salt="context") == (split == "held"):
                break
        ask = rng.choice(ASK[lang][kind][split])
        turns = [
            statement.format(t=thing, v=value),
            rng.choice(NOTED[lang][kind]).format(t=thing, v=value),
            ask.format(t=thing),
        ]
        return _messages(turns), {"kind": kind, "thing": thing, "value": value}

    def _sum(self, rng: random.Random, lang: str, split: Split) -> tuple[list[Message], Truth]:
        while True:
            a, b, n = rng.randint(1, 9), rng.randint(1, 9), rng.randint(1, 9)
            kind = rng.choice(("double", "more"))
            if is_held(a + b, kind, n if kind == "more" else 0, one_in=6, salt="context") == (split == "held"):
                break
        first = rng.choice(FIRST[lang]).format(a=a, b=b, op="+" if lang == "en" else "加")
        then = rng.choice(THEN[lang][kind][split]).format(n=n)
        total = f"{a} + {b} = {a + b}" + ("." if lang == "en" else "。")
        value = (a + b) * 2 if kind == "double" else a + b + n
        return _messages([first, total, then]), {
            "kind": "sum",
            "start": a + b,
            "op": "*" if kind == "double" else "+",
            "by": 2 if kind == "double" else n,
            "value": value,
        }

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        kind, value = truth["kind"], truth["value"]
        if kind == "sum":
            op, start, by = truth["op"], truth["start"], truth["by"]
            sentence = f"{start} {'x' if op == '*' else op} {by} = {value}"
            if lang == "zh":
                return Forms(f"{value}", sentence + "。", f"接着算：{sentence}。")
            sentence += "."
            return Forms(f"{value}", sentence, f"We had {start}. {sentence}")
        sentence = RECALLED[lang][kind].format(t=truth["thing"], v=value)
        if lang == "zh":
            return Forms(value, sentence, sentence + "这是你告诉我的。")
        return Forms(value[:1].upper() + value[1:] + ".", sentence, f"{sentence} You told me that before.")

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        if truth["kind"] == "sum":
            return {**truth, "value": truth["start"] if rng.random() < 0.2 else near(rng, truth["value"])}
        return {**truth, "value": pick_other(rng, self._values(lang, truth["kind"]), truth["value"])}

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        if truth["kind"] == "sum":
            return numbers_in(answer, lang)[-1:] == [truth["value"]]
        return names_only(answer, truth["value"], self._values(lang, truth["kind"]))

    @staticmethod
    def _values(lang: str, kind: str) -> list[str]:
        return VALUES[lang][kind]


def _messages(turns: list[str]) -> list[Message]:
    """Return alternating messages, the user's first and last."""
    return [{"role": "assistant" if i % 2 else "user", "content": turn} for i, turn in enumerate(turns)]
