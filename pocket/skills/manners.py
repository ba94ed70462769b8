"""System messages that request a style: brief, formal or cheerful. A right answer has that style."""

from __future__ import annotations

import random
import re

from pocket.skills.arithmetic import Arithmetic
from pocket.skills.base import Prompt, Skill, Split, Truth, typed
from pocket.skills.capitals import Capitals
from pocket.skills.facts import Facts
from pocket.skills.opposites import Opposites
from pocket.skills.style import Forms, measure, render

SYSTEMS = {
    "en": {
        "brief": {
            "train": [
                "Be brief.",
                "Answer briefly.",
                "Answer in as few words as you can.",
                "You give short answers.",
                "Keep it short.",
                "Short answers only.",
                "Use few words.",
                "Keep your answers short.",
                "You are a brief assistant.",
            ],
            "held": ["Please be brief.", "Give short answers."],
        },
        "formal": {
            "train": [
                "Be formal.",
                "Answer formally.",
                "Use formal language.",
                "You speak in a formal way.",
                "You are a formal assistant.",
                "Keep a formal tone.",
                "Speak formally.",
                "Your language is formal.",
            ],
            "held": ["Please be formal.", "Please use formal language."],
        },
        "cheerful": {
            "train": [
                "Be cheerful.",
                "You are a cheerful assistant.",
                "Answer in a cheerful way.",
                "Be happy and friendly.",
                "You are always cheerful.",
                "Sound happy.",
                "Keep a cheerful tone.",
                "Be a cheerful and friendly assistant.",
            ],
            "held": ["Please be cheerful.", "You are a happy and cheerful assistant."],
        },
    },
    "zh": {
        "brief": {
            "train": [
                "请简短回答。",
                "回答要简短。",
                "请简短地回答。",
                "尽量简短。",
                "用最少的字回答。",
                "你的回答很简短。",
                "少说几个字。",
                "请回答得简短一些。",
            ],
            "held": ["请尽量简短地回答。"],
        },
        "formal": {
            "train": [
                "请正式地回答。",
                "请使用正式的语言。",
                "用正式的语言。",
                "回答要正式。",
                "你是一个正式的助手。",
                "请正式一些。",
                "语气要正式。",
            ],
            "held": ["请用正式的语言回答。"],
        },
        "cheerful": {
            "train": [
                "请热情地回答。",
                "你是一个热情的助手。",
                "回答要热情。",
                "请热情一些。",
                "你很热情。",
                "语气要热情友好。",
                "你是一个非常热情的助手。",
            ],
            "held": ["你是一个很热情的助手。"],
        },
    },
}
MOODS_FOR = {"brief": {"short": 1.0}, "formal": {"formal": 1.0}, "cheerful": {"cheerful": 1.0}}
MANNERS: dict[str, Skill] = {s.name: s for s in (Arithmetic(), Capitals(), Facts(), Opposites())}


class Manners(Skill):
    """A question of another skill under a system message; content and style must be right."""

    name = "manners"
    languages = ("en", "zh")
    weight = 3.2
    practice = 6.0

    def prompt(self, rng: random.Random, lang: str, split: Split) -> Prompt:
        manner = rng.choice(list(SYSTEMS["en"]))
        skill = MANNERS[rng.choice(list(MANNERS))]
        inner = skill.prompt(rng, lang, "train")
        system = rng.choice(SYSTEMS[lang][manner][split])
        if split == "held" and skill.name == "arithmetic":
            inner = skill.prompt(rng, lang, "held")
        question = typed(rng, inner.messages[-1]["content"])
        messages = ({"role": "system", "content": system}, {"role": "user", "content": question})
        return Prompt(self.name, lang, messages, {"manner": manner, "of": skill.name, "inner": inner.truth})

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        return MANNERS[truth["of"]].forms(rng, lang, truth["inner"])

    def right_answer(self, rng: random.Random, prompt: Prompt) -> str:
        return render(rng, self.forms(rng, prompt.lang, prompt.truth), prompt.lang, MOODS_FOR[prompt.truth["manner"]])

    def school_answer(self, rng: random.Random, prompt: Prompt) -> str:
        """Return an answer as in the raw mixture, since the style is what this skill teaches."""
        return self.right_answer(rng, prompt)

    def _flawed(self, rng: random.Random, prompt: Prompt) -> str:
        truth, lang = prompt.truth, prompt.lang
        skill = MANNERS[truth["of"]]
        if rng.random() < 0.5:  # right, in another manner
            other = rng.choice([m for m in MOODS_FOR if m != truth["manner"]] + ["plain", "rude"])
            return render(rng, self.forms(rng, lang, truth), lang, MOODS_FOR.get(other, {other: 1.0}))
        return render(
            rng, skill.forms(rng, lang, skill.spoil(rng, lang, truth["inner"])), lang, MOODS_FOR[truth["manner"]]
        )

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        return MANNERS[truth["of"]].is_right(lang, truth["inner"], answer.replace("您好。", "")) and keeps_manner(
            truth["manner"], answer
        )


def keeps_manner(manner: str, answer: str) -> bool:
    """Return whether an answer has the requested style.

    Brief is at most 3 words (4 characters and a unit in Chinese). Formal opens with a formal word and has no ornament.
    Cheerful has an exclamation mark or an emoji.
    """
    style = measure(answer)
    if manner == "brief":
        return style.words <= (6 if re.search(r"[\u4e00-\u9fff]", answer) else 3) and not style.decorated
    if manner == "formal":
        return (
            not style.decorated
            and style.exclamations == 0
            and re.match(r"certainly|with pleasure|您好", answer.lower()) is not None
        )
    return style.exclamations + style.emoji > 0 and not style.rude
