"""Adding, subtracting and multiplying two small whole numbers, in digits or spelled out."""

from __future__ import annotations

import random

from pocket.skills.base import NUMBER_WORDS, NUMERALS_ZH, Skill, Split, Truth, held_in, numbers_in, phrase
from pocket.skills.style import Forms

PHRASINGS = {
    "en": {
        "train": [
            "What is {a} {op} {b}?",
            "{a} {op} {b}",
            "{a} {op} {b} = ?",
            "How much is {a} {op} {b}?",
            "Calculate {a} {op} {b}.",
            "What's {a} {op} {b}?",
            "Please work out {a} {op} {b}.",
            "Can you tell me what {a} {op} {b} is?",
            "I need to know {a} {op} {b}.",
            "Compute {a} {op} {b}.",
            "Solve {a} {op} {b}.",
            "What does {a} {op} {b} give?",
            "What do you think {a} {op} {b} is?",
            "What do I get if I do {a} {op} {b}?",
            "Work out {a} {op} {b}.",
            "Say what {a} {op} {b} makes.",
            "Give me the result of {a} {op} {b}.",
            "Find {a} {op} {b}.",
        ],
        "held": [
            "Tell me what {a} {op} {b} is.",
            "Could you work out {a} {op} {b}?",
            "What do you get for {a} {op} {b}?",
            "Please calculate {a} {op} {b}.",
        ],
    },
    "zh": {
        "train": [
            "{a}{op}{b}等于多少？",
            "{a}{op}{b}是多少？",
            "{a}{op}{b}=？",
            "请计算{a}{op}{b}。",
            "算一下{a}{op}{b}。",
            "你知道{a}{op}{b}等于几吗？",
            "{a}{op}{b}等于几？",
            "{a}{op}{b}",
            "计算{a}{op}{b}。",
            "{a}{op}{b}的结果是多少？",
            "{a}{op}{b}是几？",
            "帮我算{a}{op}{b}。",
            "求{a}{op}{b}。",
            "请算出{a}{op}{b}。",
            "{a}{op}{b}，结果得几？",
        ],
        "held": ["请问{a}{op}{b}等于多少？", "帮我算一下{a}{op}{b}。", "{a}{op}{b}得多少？"],
    },
}
SIGNS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {"+": ("+", "+", "plus"), "-": ("-", "-", "minus"), "*": ("x", "times", "*")},
    "zh": {"+": ("加", "+"), "-": ("减", "-"), "*": ("乘", "乘以")},
}
WORDS = {"en": {"+": "plus", "-": "minus", "*": "times"}, "zh": {"+": "加", "-": "减", "*": "乘"}}


def value(a: int, op: str, b: int) -> int:
    """Return a op b for op in + - *."""
    return {"+": a + b, "-": a - b, "*": a * b}[op]


def operands(rng: random.Random, lang: str, split: Split) -> tuple[int, str, int]:
    """Return two numbers and an operation of this split; training has no held-out sum in its language."""
    while True:
        op = rng.choices("+-*", weights=(45, 33, 22))[0]
        if op == "*":
            a, b = rng.randint(0, 9), rng.randint(0, 9)
        elif op == "+":
            high = 20 if rng.random() < 0.4 else 12
            a, b = rng.randint(0, high), rng.randint(0, high)
        else:
            a = rng.randint(0, 20)
            b = rng.randint(0, a)
        if (held_in(a, op, b, salt="arithmetic") == lang and b != a) == (split == "held"):
            return a, op, b


def near(rng: random.Random, right: int) -> int:
    """Return a plausible wrong result: off by one, two or ten, or with swapped digits."""
    while True:
        wrong = right + rng.choice((-3, -2, -1, -1, 1, 1, 2, 3, 10, -10))
        if rng.random() < 0.15 and right > 9:
            wrong = int(str(right)[::-1])
        if wrong != right and wrong >= 0:
            return wrong


class Arithmetic(Skill):
    """Sums of two numbers."""

    name = "arithmetic"
    languages = ("en", "zh")
    weight = 4.4
    practice = 13.0

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[str, Truth]:
        a, op, b = operands(rng, lang, split)
        sign = rng.choice(SIGNS[lang][op])
        shown: list[object] = [a, b]
        names = NUMBER_WORDS if lang == "en" else NUMERALS_ZH
        is_spelled_out = rng.random() < 0.2 and max(a, b) < len(names)
        if is_spelled_out:
            shown, sign = [names[a], names[b]], WORDS[lang][op]
        text = phrase(rng, PHRASINGS, lang, split, a=shown[0], op=sign, b=shown[1])
        if lang == "en" and not is_spelled_out and rng.random() < 0.12:
            text = text.replace(f" {sign} ", sign) if sign in "+-*" else text
        return text, {"a": a, "op": op, "b": b, "value": value(a, op, b)}

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        a, op, b, result = truth["a"], truth["op"], truth["b"], truth["value"]
        sign = {"*": "x"}.get(op, op)
        if lang == "zh":
            return Forms(
                f"{result}", f"{a} {sign} {b} = {result}。", f"我们来算一下：{a}{WORDS['zh'][op]}{b}，结果是{result}。"
            )
        full = rng.choice(
            (
                f"Let us work it out: {a} {WORDS['en'][op]} {b} gives {result}.",
                f"If you take {a} {WORDS['en'][op]} {b}, the result is {result}.",
            )
        )
        return Forms(f"{result}", f"{a} {sign} {b} = {result}.", full)

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        return {**truth, "value": near(rng, truth["value"])}

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        found = numbers_in(answer, lang)
        return bool(found) and found[-1] == truth["value"]
