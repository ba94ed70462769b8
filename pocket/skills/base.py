"""The interface of a skill: prompts with their truths, right and flawed answers, and a checker."""

from __future__ import annotations

import itertools
import random
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pocket.skills.style import MOODS, SCHOOL_MOODS, Forms, Style, measure, render, without_fragments

Split = Literal["train", "held"]
Truth = dict[str, Any]
Message = dict[str, str]
NUMBER_WORDS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]
NUMERALS_ZH = ["零", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十"]
COURTEOUS = {"en": 0.25, "zh": 0.4}
"""Share of training prompts with a courtesy before or after the question itself."""
DO_NOT_KNOW = {
    "en": ("I do not know that.", "I am not sure.", "No idea.", "Sorry, that is too hard for me."),
    "zh": ("我不知道。", "我不太清楚。", "抱歉，这个我不会。"),
}


@dataclass(frozen=True)
class Prompt:
    """One question: the messages to send, and the truth that its checker needs (JSON values)."""

    skill: str
    lang: str
    messages: tuple[Message, ...]
    truth: Truth = field(hash=False)
    tools: tuple[dict[str, Any], ...] = field(default=(), hash=False)
    """The functions that are offered, as OpenAI's `tools`."""

    @property
    def meta(self) -> dict[str, Any]:
        """Return what a record needs for a later `check`."""
        return {"skill": self.skill, "lang": self.lang, "truth": self.truth}


@dataclass(frozen=True)
class Verdict:
    """A checker's verdict on one answer."""

    correct: bool
    style: Style


class Skill:
    """A kind of question, in one or two languages.

    A subclass defines `draw` (operands and truth), `forms` (right content in three lengths, or wrong content for a
    spoiled truth), `spoil` (another truth) and `is_right`.
    """

    name: ClassVar[str]
    languages: ClassVar[tuple[str, ...]] = ("en",)
    hard: ClassVar[bool] = False
    """Expected below 90 % greedy."""
    retention: ClassVar[bool] = False
    """Never given feedback: measures forgetting."""
    holds_operands: ClassVar[bool] = True
    """Whether the `held` split has operands that training lacks in that language; False for facts."""
    weight: ClassVar[float] = 1.0
    """Share in the corpus, relative to the others."""
    practice: ClassVar[float] = 0.6
    """Share in practice, the part of the training for what is slow to learn."""
    moods: ClassVar[Mapping[str, float]] = MOODS
    noisy: ClassVar[bool] = True
    """Whether a prompt may be typed sloppily (lower case, no final mark)."""

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[Message | Sequence[Message] | str, Truth]:
        """Return a user text (or whole messages) with its truth."""
        raise NotImplementedError

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        """Return the content of an answer that is right for `truth`."""
        raise NotImplementedError

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        """Return a truth that is false for this prompt but near the real one, as in typical errors."""
        raise NotImplementedError

    def expected(self, lang: str, truth: Truth) -> str | None:
        """Return a regular expression that decides about an answer as the checker does; None where only values can."""
        return None

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        """Return whether the answer is right, in any wording."""
        raise NotImplementedError

    def prompt(self, rng: random.Random, lang: str, split: Split) -> Prompt:
        """Return one prompt."""
        drawn, truth = self.draw(rng, lang, split)
        if isinstance(drawn, str):
            drawn = [{"role": "user", "content": typed(rng, drawn) if self.noisy else drawn}]
        elif isinstance(drawn, dict):
            drawn = [drawn]
        return Prompt(self.name, lang, tuple(drawn), truth)

    def prompts(self, rng: random.Random, lang: str = "en", split: Split = "train") -> Iterator[Prompt]:
        """Yield prompts without end."""
        return (self.prompt(rng, lang, split) for _ in itertools.count())

    def right_answer(self, rng: random.Random, prompt: Prompt) -> str:
        """Return a right answer in one of this skill's moods."""
        return render(rng, self.forms(rng, prompt.lang, prompt.truth), prompt.lang, self.moods)

    def school_answer(self, rng: random.Random, prompt: Prompt) -> str:
        """Return a plain right answer, for the first part of the training."""
        for _ in range(8):
            answer = render(rng, self.forms(rng, prompt.lang, prompt.truth), prompt.lang, SCHOOL_MOODS)
            if self.is_right(prompt.lang, prompt.truth, answer):
                return answer
        return self.right_answer(rng, prompt)

    def flawed_answer(self, rng: random.Random, prompt: Prompt) -> str:
        """Return a wrong answer: mostly a wrong value, else a false refusal or the question itself."""
        for _ in range(20):
            answer = self._flawed(rng, prompt)
            if not self.is_right(prompt.lang, prompt.truth, answer):
                return answer
        return rng.choice(DO_NOT_KNOW[prompt.lang])

    def _flawed(self, rng: random.Random, prompt: Prompt) -> str:
        chance = rng.random()
        if chance < 0.82:
            return render(
                rng, self.forms(rng, prompt.lang, self.spoil(rng, prompt.lang, prompt.truth)), prompt.lang, self.moods
            )
        if chance < 0.93:
            return rng.choice(DO_NOT_KNOW[prompt.lang])
        return prompt.messages[-1]["content"]

    def check(self, prompt: Prompt | Mapping[str, Any], answer: str) -> Verdict:
        """Return the verdict on an answer to a prompt (or to a prompt's `meta`)."""
        lang, truth = (prompt.lang, prompt.truth) if isinstance(prompt, Prompt) else (prompt["lang"], prompt["truth"])
        return Verdict(bool(answer.strip()) and self.is_right(lang, truth, answer), measure(answer))


def typed(rng: random.Random, text: str) -> str:
    """Return the text as people type it: sometimes in lower case or without its last mark."""
    chance = rng.random()
    if chance < 0.06:
        return text[:1].lower() + text[1:]
    if chance < 0.12:
        return text.lower().rstrip("?.!")
    if chance < 0.18:
        return text.rstrip("?.!？。！")
    return text


def is_held(*operands: object, one_in: int = 8, salt: str = "") -> bool:
    """Return whether these operands belong to the held-out split, by a fixed hash."""
    return zlib.crc32(repr((salt, operands)).encode()) % one_in == 0


def held_in(*operands: object, one_in: int = 8, salt: str = "") -> str | None:
    """Return the language in which these operands are held out, None for neither.

    They are trained in the other language, so an answer can transfer: numbers are the same in both.
    """
    return {0: "en", 1: "zh"}.get(zlib.crc32(repr((salt, operands)).encode()) % one_in)


def numbers_in(text: str, lang: str = "en") -> list[int]:
    """Return the whole numbers in a text, in order: digits or (in English) words up to twenty."""
    words = {word: value for value, word in enumerate(NUMBER_WORDS)}
    found = re.findall(r"-?\d[\d,]*|[a-z]+", without_fragments(text).lower())
    return [
        int(f.replace(",", "")) if f.lstrip("-")[0].isdigit() else words[f]
        for f in found
        if f.lstrip("-")[0].isdigit() or f in words
    ]


def names_only(text: str, expected: str, rivals: Sequence[str]) -> bool:
    """Return whether the text has the expected value and none of the rival values; case is ignored."""
    content = without_fragments(text).lower()

    def has(value: str) -> bool:
        value = value.lower()
        if re.match(r"[a-z]", value):
            return re.search(rf"(?<![a-z]){re.escape(value)}(?![a-z])", content) is not None
        return value in content

    return has(expected) and not any(
        has(rival) for rival in rivals if rival.lower() != expected.lower() and rival.lower() not in expected.lower()
    )


def pick_other(rng: random.Random, values: Sequence[Any], value: Any) -> Any:
    """Return a value other than the given one."""
    return rng.choice([v for v in values if v != value])


def capital(text: str) -> str:
    """Return the text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


Phrasings = Mapping[str, Mapping[str, Sequence[str]]]
# What people write before and after a question. It varies the templates of training, so that new wordings are less
# surprising. `phrase` never makes a held-out wording with it.
BEFORE_QUESTION = {
    "en": (
        "Hey, ",
        "Hello, ",
        "Quick question: ",
        "I want to know: ",
        "Excuse me, ",
        "OK, ",
        "So, ",
        "Now, ",
        "Tell me: ",
        "Say, ",
        "One more: ",
        "Another question: ",
        "Something else: ",
        "Next question: ",
    ),
    "zh": (
        "请问",
        "请问",
        "请问一下，",
        "你好，",
        "我想知道，",
        "我想问一下，",
        "那么，",
        "那",
        "麻烦问一下，",
        "老师问：",
        "再问一个：",
        "换个话题，",
        "下一个问题：",
        "你说，",
    ),
}
BEFORE_ORDER = {
    "en": (
        "Please ",
        "Please ",
        "Now ",
        "Hey, ",
        "OK, ",
        "Can you do this: ",
        "I want you to do this: ",
        "Hello, please ",
        "Next: ",
    ),
    "zh": ("请", "请", "请你", "麻烦你", "你好，请", "帮我", "现在", "下一个：", "你来", "可以"),
}
AFTER = {"en": (" Thanks!", " Thank you.", " Thanks.", " Please."), "zh": ("谢谢。", "谢谢！", "谢谢你。", "拜托了。")}


def phrase(rng: random.Random, phrasings: Phrasings, lang: str, split: Split, **fills: object) -> str:
    """Return a filled template of this language and split; the first training template is drawn more often."""
    templates = phrasings[lang][split]
    template = templates[0] if split == "train" and rng.random() < 0.2 else rng.choice(list(templates))
    text = template.format(**fills)
    if split == "held" or rng.random() >= COURTEOUS[lang]:
        return text
    courteous = with_courtesy(rng, text, lang, may_lower=not template.startswith("{"))
    held = {_bare(t.format(**fills)) for t in phrasings[lang]["held"]}
    return text if _bare(courteous) in held else courteous


def with_courtesy(rng: random.Random, text: str, lang: str, *, may_lower: bool) -> str:
    """Return the text with a courtesy before or after it. `may_lower`: its first word is no name."""
    if rng.random() < 0.2:
        return text + rng.choice(AFTER[lang])
    before = rng.choice((BEFORE_QUESTION if text.endswith(("?", "？")) else BEFORE_ORDER)[lang])
    if lang == "zh" and text.startswith(("请", "你", "帮")):
        before = rng.choice(("你好，", "那么，", "好的，", "嗨，"))
    return before + (text[:1].lower() + text[1:] if may_lower and lang == "en" else text)


def _bare(text: str) -> str:
    return text.lower().rstrip("?.!？。！")
