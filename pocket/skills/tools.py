"""Calling functions: a calculator and a unit converter, in the Hermes format that other software parses.

A call is the text `<tool_call>`, a JSON object with `name` and `arguments`, `</tool_call>`, each on a line.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from typing import Any

from pocket.skills.arithmetic import SIGNS
from pocket.skills.base import Message, Prompt, Skill, Split, Truth, is_held, phrase, typed
from pocket.skills.capitals import Capitals
from pocket.skills.definitions import Definitions
from pocket.skills.facts import Facts
from pocket.skills.greeting import Greeting
from pocket.skills.identity import Identity
from pocket.skills.jokes import Jokes
from pocket.skills.opposites import Opposites
from pocket.skills.style import MOODS, SCHOOL_MOODS, Forms, render
from pocket.skills.tool_offers import Tool, calculator, converter, other_tool
from pocket.skills.tool_wordings import CONVERSIONS, SUMS

UNIT_PAIRS = (
    ("kilometres", "miles", "公里", "英里", 0.621371),
    ("miles", "kilometres", "英里", "公里", 1.60934),
    ("kilograms", "pounds", "公斤", "磅", 2.20462),
    ("pounds", "kilograms", "磅", "公斤", 0.453592),
    ("metres", "feet", "米", "英尺", 3.28084),
    ("feet", "metres", "英尺", "米", 0.3048),
    ("inches", "centimetres", "英寸", "厘米", 2.54),
    ("centimetres", "inches", "厘米", "英寸", 0.393701),
    ("hours", "minutes", "小时", "分钟", 60),
    ("minutes", "seconds", "分钟", "秒", 60),
    ("days", "hours", "天", "小时", 24),
    ("weeks", "days", "星期", "天", 7),
    ("kilometres", "metres", "公里", "米", 1000),
    ("metres", "centimetres", "米", "厘米", 100),
    ("kilograms", "grams", "公斤", "克", 1000),
    ("litres", "millilitres", "升", "毫升", 1000),
    ("years", "months", "年", "个月", 12),
)
PLAIN: dict[str, Skill] = {
    s.name: s for s in (Greeting(), Capitals(), Facts(), Opposites(), Definitions(), Identity(), Jokes())
}
"""Skills that need no function."""
CALL = re.compile(r"\s*<tool_call>\s*(\{.*\})\s*</tool_call>\s*", re.DOTALL)


@dataclass(frozen=True)
class Offer:
    """The functions that a conversation offers, and which of them are the calculator and the converter."""

    tools: tuple[Tool, ...]
    calculator: tuple[str, str] | None
    converter: tuple[str, tuple[str, str, str]] | None


def offer(rng: random.Random, split: Split) -> Offer:
    """Return functions to offer: the calculator, the converter or both, sometimes beside another."""
    sum_tool, sum_name, argument = calculator(rng, split)
    unit_tool, unit_name, arguments = converter(rng, split)
    which = rng.choices(("both", "sums", "units"), weights=(5, 2, 2))[0]
    tools = [sum_tool] * (which != "units") + [unit_tool] * (which != "sums")
    if rng.random() < 0.2:
        tools.append(other_tool(rng))
    rng.shuffle(tools)
    return Offer(
        tuple(tools),
        (sum_name, argument) if which != "units" else None,
        (unit_name, arguments) if which != "sums" else None,
    )


def call_text(name: str, arguments: dict[str, Any]) -> str:
    """Return a call as the model writes it."""
    call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{call}\n</tool_call>"


def read_call(text: str) -> dict[str, Any] | None:
    """Return `{"name", "arguments"}` of a text that is one well-formed call, else None."""
    found = CALL.fullmatch(text)
    if found is None:
        return None
    try:
        call = json.loads(found[1])
    except ValueError:
        return None
    return call if isinstance(call, dict) and isinstance(call.get("arguments"), dict) else None


class Tools(Skill):
    """A call where one is due, an answer from its result, and no call where none is needed."""

    name = "tools"
    languages = ("en", "zh")
    weight = 5.0
    practice = 8.0

    def prompt(self, rng: random.Random, lang: str, split: Split) -> Prompt:
        offered = offer(rng, split)
        kind = rng.choices(("call", "answer", "none"), weights=(5, 3, 2))[0]
        if kind == "none":
            return self.without_call(rng, lang, offered, split)
        prompt = self.call(rng, lang, offered, split)
        return self.after(rng, prompt) if kind == "answer" else prompt

    def call(self, rng: random.Random, lang: str, offered: Offer, split: Split) -> Prompt:
        """Return a question that one of the offered functions answers."""
        if offered.converter is None or (offered.calculator is not None and rng.random() < 0.55):
            assert offered.calculator is not None  # an offer has one of them
            text, arguments, result, statement = _sum(rng, lang, split, offered.calculator[1])
            name = offered.calculator[0]
        else:
            text, arguments, result, statement = _conversion(rng, lang, split, offered.converter[1])
            name = offered.converter[0]
        truth = {"kind": "call", "name": name, "arguments": arguments, "result": result, "statement": statement}
        return Prompt(self.name, lang, ({"role": "user", "content": typed(rng, text)},), truth, offered.tools)

    def after(self, rng: random.Random, prompt: Prompt) -> Prompt:
        """Return the prompt that follows a call: the function's result is there, the answer is due."""
        truth = prompt.truth
        shown = rng.choice((truth["result"], json.dumps({"result": _number(truth["result"])}), truth["result"]))
        messages: tuple[Message, ...] = (
            *prompt.messages,
            {"role": "assistant", "content": call_text(truth["name"], truth["arguments"])},
            {"role": "tool", "content": shown},
        )
        return Prompt(self.name, prompt.lang, messages, {**truth, "kind": "answer"}, prompt.tools)

    def without_call(self, rng: random.Random, lang: str, offered: Offer, split: Split) -> Prompt:
        """Return a question that needs no function."""
        inner = PLAIN[rng.choice(list(PLAIN))].prompt(rng, lang, split)
        truth = {"kind": "none", "of": inner.skill, "inner": inner.truth}
        return Prompt(self.name, lang, inner.messages, truth, offered.tools)

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        if truth["kind"] == "none":
            return PLAIN[truth["of"]].forms(rng, lang, truth["inner"])
        if truth["kind"] == "answer":
            result, statement = truth["result"], truth["statement"].format(v=truth["result"])
            return Forms(result, statement, ("算好了：" if lang == "zh" else "Here is the result: ") + statement)
        text = call_text(truth["name"], truth["arguments"])
        return Forms(text, text, text)

    def right_answer(self, rng: random.Random, prompt: Prompt) -> str:
        return self._answer(rng, prompt, prompt.truth, MOODS)

    def school_answer(self, rng: random.Random, prompt: Prompt) -> str:
        """Return a call as it is, or a plain answer."""
        return self._answer(rng, prompt, prompt.truth, SCHOOL_MOODS)

    def _answer(self, rng: random.Random, prompt: Prompt, truth: Truth, moods: Any) -> str:
        if truth["kind"] == "none":
            inner = Prompt(truth["of"], prompt.lang, prompt.messages, truth["inner"])
            skill = PLAIN[truth["of"]]
            return skill.right_answer(rng, inner) if moods is MOODS else skill.school_answer(rng, inner)
        forms = self.forms(rng, prompt.lang, truth)
        return forms.sentence if truth["kind"] == "call" else render(rng, forms, prompt.lang, moods)

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        if truth["kind"] == "answer":
            digits = list(truth["result"])
            spots = [i for i, c in enumerate(digits) if c.isdigit()]
            spot = rng.choice(spots)
            digits[spot] = rng.choice([d for d in "123456789" if d != digits[spot]])
            return {**truth, "result": "".join(digits)}
        if truth["kind"] == "none":
            return {**truth, "inner": PLAIN[truth["of"]].spoil(rng, lang, truth["inner"])}
        arguments = dict(truth["arguments"])
        key = rng.choice(list(arguments))
        text = str(arguments[key])
        spots = [i for i, c in enumerate(text) if c.isdigit()]
        if spots:
            spot = rng.choice(spots)
            text = text[:spot] + rng.choice([d for d in "123456789" if d != text[spot]]) + text[spot + 1 :]
            arguments[key] = text if isinstance(arguments[key], str) else _number(text)
        else:
            arguments[key] = rng.choice([p[0] for p in UNIT_PAIRS if p[0] != text])
        return {**truth, "arguments": arguments}

    def _flawed(self, rng: random.Random, prompt: Prompt) -> str:
        truth, chance = prompt.truth, rng.random()
        if truth["kind"] == "none":
            inner = Prompt(truth["of"], prompt.lang, prompt.messages, truth["inner"])
            return PLAIN[truth["of"]].flawed_answer(rng, inner)
        if truth["kind"] == "call" and chance < 0.25:
            return call_text(truth["name"], truth["arguments"]).replace("}}", "}", 1)
        if truth["kind"] == "call" and chance < 0.5:
            return render(rng, self.forms(rng, prompt.lang, {**truth, "kind": "answer"}), prompt.lang, SCHOOL_MOODS)
        return self._answer(rng, prompt, self.spoil(rng, prompt.lang, truth), MOODS)

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        if truth["kind"] == "none":
            return "<tool_call" not in answer and PLAIN[truth["of"]].is_right(lang, truth["inner"], answer)
        if truth["kind"] == "answer":
            found = re.findall(r"-?\d[\d,]*(?:\.\d+)?", answer)
            return bool(found) and found[-1].replace(",", "") == truth["result"]
        call = read_call(answer)
        return call is not None and call["name"] == truth["name"] and _same(call["arguments"], truth["arguments"])


def _same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    def plain(arguments: dict[str, Any]) -> dict[str, str]:
        return {key: re.sub(r"\s+", "", str(value)).lower() for key, value in arguments.items()}

    return plain(ours) == plain(theirs)


def _sum(rng: random.Random, lang: str, split: Split, argument: str) -> tuple[str, dict[str, Any], str, str]:
    """Return (question, arguments, result, statement with `{v}`) of a sum."""
    while True:
        a, b = (rng.randint(1, 10 ** rng.choice((1, 2, 2, 3, 3, 4)) - 1) for _ in range(2))
        op = rng.choice("+++--**/")
        if op == "/":
            b = rng.randint(2, 12)
            a = b * rng.randint(2, 99)
        if is_held(a, op, b, salt="tools") == (split == "held"):
            break
    sign = rng.choice({"en": ("/", "divided by"), "zh": ("除以", "/")}[lang] if op == "/" else SIGNS[lang][op])
    result = {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[op]
    text = phrase(rng, SUMS, lang, split, a=a, op=sign, b=b)
    end = "。" if lang == "zh" else "."
    return text, {argument: f"{a} {op} {b}"}, str(result), f"{a} {'x' if op == '*' else op} {b} = {{v}}{end}"


def _conversion(
    rng: random.Random, lang: str, split: Split, arguments: tuple[str, str, str]
) -> tuple[str, dict[str, Any], str, str]:
    """Return (question, arguments, result, statement with `{v}`) of a conversion."""
    while True:
        of, to, of_zh, to_zh, factor = rng.choice(UNIT_PAIRS)
        amount = rng.randint(2, 10 ** rng.choice((1, 2, 2, 3)) - 1)
        if is_held(amount, of, to, salt="tools") == (split == "held"):
            break
    if lang == "zh":
        of, to = of_zh, to_zh
    result = f"{round(amount * factor, 2):g}" if amount * factor < 10_000 else str(round(amount * factor))
    text = phrase(rng, CONVERSIONS, lang, split, n=amount, of=of, to=to)
    filled = dict(zip(arguments, (amount, of, to), strict=True))
    statement = f"{amount}{of}等于{{v}}{to}。" if lang == "zh" else f"{amount} {of} are {{v}} {to}."
    return text, filled, result, statement


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)
