"""System messages that request a length, a tone or a language. A right answer keeps to it."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

from pocket.skills.arithmetic import Arithmetic
from pocket.skills.base import Message, Prompt, Skill, Split, Truth, typed
from pocket.skills.capitals import Capitals
from pocket.skills.facts import Facts
from pocket.skills.languages import in_other_language, is_in
from pocket.skills.opposites import Opposites
from pocket.skills.style import Forms, measure, render, without_fragments
from pocket.skills.units import Units

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
        "sentences": {
            "train": [
                "Answer in full sentences.",
                "Use full sentences.",
                "Always answer in a full sentence.",
                "Speak in whole sentences.",
                "Write complete sentences.",
                "You answer in complete sentences.",
            ],
            "held": ["Please use full sentences.", "Please answer in full sentences."],
        },
        "in zh": {
            "train": [
                "Answer in Chinese.",
                "Always answer in Chinese.",
                "Speak Chinese.",
                "You speak only Chinese.",
                "Your answers are in Chinese.",
                "Use Chinese.",
            ],
            "held": ["Please answer in Chinese.", "Please speak Chinese."],
        },
        "in en": {
            "train": [
                "Answer in English.",
                "Always answer in English.",
                "Speak English.",
                "You speak only English.",
                "Your answers are in English.",
                "Use English.",
            ],
            "held": ["Please answer in English.", "Please speak English."],
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
        "sentences": {
            "train": ["用完整的句子回答。", "请说完整的句子。", "回答要用完整的句子。", "总是用完整的句子回答。"],
            "held": ["请用完整的句子回答。"],
        },
        "in zh": {
            "train": ["用中文回答。", "总是用中文回答。", "说中文。", "你只说中文。", "回答要用中文。"],
            "held": ["请用中文回答。"],
        },
        "in en": {
            "train": ["用英语回答。", "总是用英语回答。", "说英语。", "你只说英语。", "回答要用英语。"],
            "held": ["请用英语回答。"],
        },
    },
}
PLAINLY = {"plain": 0.7, "short": 0.15, "full": 0.15}
MOODS_FOR: dict[str, Mapping[str, float]] = {
    "brief": {"short": 1.0},
    "formal": {"formal": 1.0},
    "cheerful": {"cheerful": 1.0},
    "sentences": {"plain": 0.7, "full": 0.3},
    "in zh": PLAINLY,
    "in en": PLAINLY,
}
MANNERS: dict[str, Skill] = {s.name: s for s in (Arithmetic(), Capitals(), Facts(), Opposites())}
SKILLS_OF: dict[str, Skill] = {**MANNERS, "units": Units()}
TRANSLATED: dict[str, Skill] = {s.name: s for s in (Capitals(), Facts(), Units())}
"""The skills of which a question in one language is answered in the other."""


class Manners(Skill):
    """A question of another skill under a system message; content and manner must be right."""

    name = "manners"
    languages = ("en", "zh")
    weight = 3.2
    practice = 6.0

    def prompt(self, rng: random.Random, lang: str, split: Split) -> Prompt:
        manner = rng.choice(list(SYSTEMS["en"]))
        question, truth = self.question(rng, lang, manner, split)
        system = rng.choice(SYSTEMS[rng.choice(("en", "zh")) if manner.startswith("in ") else lang][manner][split])
        return Prompt(self.name, lang, ({"role": "system", "content": system}, question), truth)

    def question(self, rng: random.Random, lang: str, manner: str, split: Split) -> tuple[Message, Truth]:
        """Return a question in `lang` that fits a system message of this manner, and its truth."""
        answer_lang = manner.removeprefix("in ") if manner.startswith("in ") else lang
        while True:
            skill = rng.choice(list((TRANSLATED if answer_lang != lang else MANNERS).values()))
            inner = skill.prompt(rng, lang, "train")
            if split == "held" and skill.name == "arithmetic":
                inner = skill.prompt(rng, lang, "held")
            truth = inner.truth if answer_lang == lang else in_other_language(skill.name, lang, inner.truth)
            if truth is not None:
                break
        message = {"role": "user", "content": typed(rng, inner.messages[-1]["content"])}
        return message, {"manner": manner, "of": skill.name, "lang": answer_lang, "inner": truth}

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        return SKILLS_OF[truth["of"]].forms(rng, truth.get("lang", lang), truth["inner"])

    def right_answer(self, rng: random.Random, prompt: Prompt) -> str:
        answer_lang = prompt.truth.get("lang", prompt.lang)
        for _ in range(8):
            forms = self.forms(rng, prompt.lang, prompt.truth)
            answer = render(rng, forms, answer_lang, MOODS_FOR[prompt.truth["manner"]])
            if self.is_right(prompt.lang, prompt.truth, answer):
                break
        return answer

    def school_answer(self, rng: random.Random, prompt: Prompt) -> str:
        """Return an answer as in the raw mixture, since the style is what this skill teaches."""
        return self.right_answer(rng, prompt)

    def _flawed(self, rng: random.Random, prompt: Prompt) -> str:
        truth, lang = prompt.truth, prompt.truth.get("lang", prompt.lang)
        skill, manner = SKILLS_OF[truth["of"]], truth["manner"]
        if rng.random() < 0.5:  # right, in another manner
            if manner.startswith("in ") and lang != prompt.lang:
                there = in_other_language(truth["of"], lang, truth["inner"])
                if there is not None:
                    return render(rng, skill.forms(rng, prompt.lang, there), prompt.lang, PLAINLY)
            other = rng.choice([m for m in ("brief", "formal", "cheerful") if m != manner] + ["plain", "rude"])
            return render(rng, self.forms(rng, lang, truth), lang, MOODS_FOR.get(other, {other: 1.0}))
        return render(rng, skill.forms(rng, lang, skill.spoil(rng, lang, truth["inner"])), lang, MOODS_FOR[manner])

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        manner, answer_lang = truth["manner"], truth.get("lang", lang)
        skill, content = SKILLS_OF[truth["of"]], answer.replace("您好。", "")
        if not skill.is_right(answer_lang, truth["inner"], content):
            return False
        if manner == "sentences":
            return len(content) > len(skill.forms(random.Random(0), answer_lang, truth["inner"]).bare) + 3
        if manner.startswith("in "):
            bare = without_fragments(content)
            return is_in(answer_lang, bare) or not re.search(r"[a-z\u4e00-\u9fff]", bare.lower())
        return keeps_manner(manner, answer)


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
