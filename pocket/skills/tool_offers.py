"""The functions that the tool skill knows: a calculator and a unit converter, as apps describe them."""

from __future__ import annotations

import random
from typing import Any

from pocket.skills.base import Split

Tool = dict[str, Any]
# Names, arguments and descriptions are drawn one by one, so that a model must read which of these an offer has.
CALCULATOR_NAMES = (
    "calculator",
    "calculate",
    "calc",
    "evaluate",
    "do_math",
    "compute",
    "arithmetic",
    "eval_expression",
)
EXPRESSIONS = ("expression", "expr", "input", "formula", "query", "text")
CALCULATOR_TEXTS = {
    "train": (
        "Evaluate an arithmetic expression.",
        "Calculate the value of an expression.",
        "A calculator.",
        "Do arithmetic.",
        "Evaluates a mathematical expression.",
        "Computes sums, differences, products and quotients.",
        "Use this for every sum.",
    ),
    "held": ("A calculator for arithmetic.", "Do a calculation."),
}
CONVERTER_NAMES = ("convert_units", "unit_converter", "convert", "units", "unit_convert", "conversion", "change_unit")
AMOUNTS = ("value", "amount", "number", "quantity", "n")
UNIT_NAMES = (("from_unit", "to_unit"), ("from", "to"), ("source", "target"), ("unit_in", "unit_out"))
CONVERTER_TEXTS = {
    "train": (
        "Convert a value between units.",
        "Convert units.",
        "Convert an amount to another unit.",
        "A converter of units.",
        "Converts between units of measurement.",
        "Use this to change units.",
    ),
    "held": ("Convert between two units.", "A tool that converts units."),
}
OTHERS = (
    ("get_weather", "city", "Get the weather of a city."),
    ("search", "query", "Search the web."),
    ("get_time", "timezone", "Get the current time."),
    ("send_email", "address", "Send an email."),
    ("read_file", "path", "Read a file."),
)
"""Functions that are offered beside and are never due."""


def function(name: str, description: str, properties: dict[str, str]) -> Tool:
    """Return a function in OpenAI's shape; `properties` are names with their JSON types, all required."""
    schema = {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in properties.items()},
        "required": list(properties),
    }
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


def calculator(rng: random.Random, split: Split) -> tuple[Tool, str, str]:
    """Return a calculator, its name and the name of its argument."""
    name, argument = rng.choice(CALCULATOR_NAMES), rng.choice(EXPRESSIONS)
    return function(name, rng.choice(CALCULATOR_TEXTS[split]), {argument: "string"}), name, argument


def converter(rng: random.Random, split: Split) -> tuple[Tool, str, tuple[str, str, str]]:
    """Return a converter, its name and the names of its arguments."""
    name, value, (of, to) = rng.choice(CONVERTER_NAMES), rng.choice(AMOUNTS), rng.choice(UNIT_NAMES)
    tool = function(name, rng.choice(CONVERTER_TEXTS[split]), {value: "number", of: "string", to: "string"})
    return tool, name, (value, of, to)


def other_tool(rng: random.Random) -> Tool:
    """Return a function that no question of the skills needs."""
    name, argument, description = rng.choice(OTHERS)
    return function(name, description, {argument: "string"})
