"""How people ask what a calculator or a converter answers."""

from __future__ import annotations

SUMS = {
    "en": {
        "train": [
            "What is {a} {op} {b}?",
            "{a} {op} {b}",
            "{a} {op} {b} = ?",
            "How much is {a} {op} {b}?",
            "Calculate {a} {op} {b}.",
            "Please work out {a} {op} {b}.",
            "I need to know {a} {op} {b}.",
            "Compute {a} {op} {b}.",
            "What does {a} {op} {b} give?",
            "Use the calculator: {a} {op} {b}.",
            "Give me the result of {a} {op} {b}.",
        ],
        "held": ["Tell me what {a} {op} {b} is.", "Could you work out {a} {op} {b}?", "Please calculate {a} {op} {b}."],
    },
    "zh": {
        "train": [
            "{a}{op}{b}等于多少？",
            "{a}{op}{b}是多少？",
            "计算{a}{op}{b}。",
            "{a}{op}{b}=？",
            "算一下{a}{op}{b}。",
            "用计算器算{a}{op}{b}。",
            "{a}{op}{b}的结果是什么？",
        ],
        "held": ["请计算{a}{op}{b}。", "请问{a}{op}{b}等于多少？"],
    },
}
CONVERSIONS = {
    "en": {
        "train": [
            "How many {to} are in {n} {of}?",
            "Convert {n} {of} to {to}.",
            "How many {to} are there in {n} {of}?",
            "{n} {of} in {to}?",
            "What is {n} {of} in {to}?",
            "Please turn {n} {of} into {to}.",
            "Change {n} {of} to {to}.",
            "Express {n} {of} in {to}.",
            "I have {n} {of}. How many {to} is that?",
        ],
        "held": ["Please convert {n} {of} to {to}.", "Can you convert {n} {of} into {to}?"],
    },
    "zh": {
        "train": [
            "{n}{of}等于多少{to}？",
            "{n}{of}是多少{to}？",
            "把{n}{of}换算成{to}。",
            "{n}{of}有多少{to}？",
            "{n}{of}合多少{to}？",
            "将{n}{of}换算为{to}。",
        ],
        "held": ["请问{n}{of}等于多少{to}？", "请把{n}{of}换算成{to}。"],
    },
}
