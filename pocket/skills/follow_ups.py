"""Follow-ups: messages that only the turn before explains ("And of Spain?", "Shorter, please.", "Are you sure?")."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pocket.skills.arithmetic import Arithmetic
from pocket.skills.base import Message, Prompt, Skill, Split, Truth, typed
from pocket.skills.capitals import Capitals
from pocket.skills.comparing import Comparing
from pocket.skills.definitions import DEFINITIONS, Definitions
from pocket.skills.facts import Facts
from pocket.skills.follow_up_wordings import ANOTHER, OPERAND, WORDINGS
from pocket.skills.greeting import Greeting
from pocket.skills.identity import Identity
from pocket.skills.jokes import JOKES, Jokes
from pocket.skills.languages import BOTH_LANGUAGES, OTHER, in_other_language, is_in
from pocket.skills.lists import Lists
from pocket.skills.manners import keeps_manner
from pocket.skills.opposites import Opposites
from pocket.skills.spelling import Spelling
from pocket.skills.style import Forms, render, without_fragments
from pocket.skills.translating import Translating
from pocket.skills.units import Units
from pocket.skills.word_forms import WordForms
from pocket.skills.words import CATEGORIES, CATEGORIES_ZH

SUBJECTS: dict[str, Skill] = {
    s.name: s
    for s in (
        Arithmetic(),
        Units(),
        Capitals(),
        Facts(),
        Opposites(),
        WordForms(),
        Spelling(),
        Definitions(),
        Translating(),
        Comparing(),
        Greeting(),
        Identity(),
        Lists(),
        Jokes(),
    )
}
"""The skills whose questions can be followed up."""
COMPUTED = ("arithmetic", "units", "comparing")
"""Skills whose full answer says how the result comes about."""
VALUED = ("arithmetic", "units", "capitals", "facts", "opposites", "word_forms", "spelling", "translating", "comparing")
"""Skills with one right value, which a person can correct."""
OPERANDS = {"capitals", "facts", "opposites", "word_forms", "spelling", "definitions", "translating", "units"}
"""Skills whose next question can be its operand alone ("And of Spain?")."""
NAMED_FAMILIES = ("colour", "legs", "sound", "day after", "day before", "month after")
MOODS_OF: dict[str, Mapping[str, float]] = {
    "shorter": {"short": 0.8, "curt": 0.2},
    "longer": {"full": 0.9, "rambling": 0.1},
    "why": {"full": 0.9, "rambling": 0.1},
    "wrong": {"short": 0.2, "plain": 0.6, "full": 0.2},
    "sure": {"short": 0.2, "plain": 0.6, "full": 0.2},
}


@dataclass(frozen=True)
class Subject:
    """What the last turn was about: its skill, the language of its answer, its truth, the question, the answer."""

    skill: str
    lang: str
    truth: Truth
    question: str
    answer: str
    is_right: bool


class FollowUps(Skill):
    """A message whose meaning comes from the question or the answer before it."""

    name = "follow_ups"
    languages = ("en", "zh")
    holds_operands = False
    weight = 4.0
    practice = 7.0

    def prompt(self, rng: random.Random, lang: str, split: Split) -> Prompt:
        while True:
            skill = SUBJECTS[rng.choice([name for name, s in SUBJECTS.items() if lang in s.languages])]
            question = skill.prompt(rng, lang, "train")
            is_right = rng.random() < 0.7 or skill.name not in VALUED
            answer = skill.school_answer(rng, question) if is_right else skill.flawed_answer(rng, question)
            subject = Subject(skill.name, lang, question.truth, question.messages[-1]["content"], answer, is_right)
            follow_up = self.follow_up(rng, lang, subject, split)
            if follow_up:
                break
        text, truth = follow_up
        messages: tuple[Message, ...] = (
            *question.messages,
            {"role": "assistant", "content": answer},
            {"role": "user", "content": text},
        )
        return Prompt(self.name, lang, messages, truth)

    def follow_up(self, rng: random.Random, lang: str, subject: Subject, split: Split) -> tuple[str, Truth] | None:
        """Return a message in `lang` that follows up this subject, with its truth; None where none fits."""
        kinds = possible_kinds(subject)
        if not kinds:
            return None
        kind = rng.choices(list(kinds), weights=list(kinds.values()))[0]
        truth: Truth = {"kind": kind, "of": subject.skill, "lang": subject.lang, "inner": subject.truth}
        fills: dict[str, Any] = {}
        if kind == "operand":
            operand, inner, family = another_operand(rng, subject)
            truth = {**truth, "inner": inner}
            wordings = [*OPERAND[lang][split], *(OPERAND[lang]["of"] if split == "train" and family == "of" else ())]
            return typed(rng, rng.choice(wordings).format(x=operand)), truth
        if kind == "language":
            there = OTHER[subject.lang]
            inner_there = in_other_language(subject.skill, subject.lang, subject.truth)
            if inner_there is None:
                return None
            truth = {**truth, "lang": there, "inner": inner_there}
            return typed(rng, rng.choice(WORDINGS[f"in {there}"][lang][split])), truth
        if kind == "another":
            truth["seen"] = named_items(subject)
            if subject.skill == "lists" and len(truth["seen"]) >= len(_members(subject.lang, subject.truth)):
                return None
            return typed(rng, rng.choice(ANOTHER[lang][split])), truth
        if kind == "question":
            truth["question"] = subject.question
        if kind == "wrong":
            if rng.random() < 0.65:
                kind = "corrected"
            fills["v"] = SUBJECTS[subject.skill].forms(rng, subject.lang, subject.truth).bare.rstrip(".。")
        if kind == "sure":
            truth["was_right"] = subject.is_right
        return typed(rng, rng.choice(WORDINGS[kind][lang][split]).format(**fills)), truth

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        kind, answer_lang, skill = truth["kind"], truth["lang"], SUBJECTS[truth["of"]]
        if kind == "question":
            question = truth["question"]
            if lang == "zh":
                return Forms(question, f"你问的是：{question}", f"你刚才问的问题是：{question}")
            return Forms(question, f"You asked: {question}", f"Your last question was this one: {question}")
        if kind == "another":
            return self._another(rng, answer_lang, truth)
        inner = skill.forms(rng, answer_lang, truth["inner"])
        if kind == "why" and truth["of"] not in COMPUTED:
            because = "我学到的是这样：" if answer_lang == "zh" else "That is what I learned: "
            return Forms(inner.sentence, because + inner.sentence, because + inner.sentence)
        if kind == "wrong" or (kind == "sure" and not truth.get("was_right", True)):
            if answer_lang == "zh":
                return Forms(
                    f"对不起，{inner.bare}", f"你说得对，{inner.sentence}", f"对不起，我说错了。{inner.sentence}"
                )
            return Forms(
                f"Sorry, {inner.bare}", f"You are right. {inner.sentence}", f"Sorry, I was wrong. {inner.sentence}"
            )
        if kind == "sure":
            if answer_lang == "zh":
                return Forms("是的，" + inner.bare, "是的，" + inner.sentence, "是的，我确定。" + inner.sentence)
            return Forms("Yes, " + inner.bare, "Yes. " + inner.sentence, "Yes, I am sure. " + inner.sentence)
        return inner

    def _another(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        if truth["of"] == "jokes":
            seen = truth["seen"]
            fresh = [joke for joke in JOKES[lang] if joke[0] not in seen] or list(JOKES[lang])
            setup, punch = fresh[0] if rng.random() < 0.5 else rng.choice(fresh)
            return SUBJECTS["jokes"].forms(rng, lang, {"kind": "joke", "setup": setup, "punch": punch})
        unnamed = [m for m in _members(lang, truth["inner"]) if m not in truth["seen"]]
        item = str(truth.get("item") or (unnamed[0] if rng.random() < 0.6 else rng.choice(unnamed)))
        if lang == "zh":
            return Forms(item, f"还有{item}。", f"还可以加上{item}。")
        shown = item if truth["inner"]["kind"] == "countries" else item.lower()
        return Forms(item.capitalize() + ".", f"Another one is {shown}.", f"You can add one more: {shown}.")

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        kind, skill = truth["kind"], SUBJECTS[truth["of"]]
        if kind == "question":
            other = skill.prompt(rng, truth["lang"] if truth["lang"] in skill.languages else "en", "train")
            return {**truth, "question": other.messages[-1]["content"]}
        if kind == "another":
            if truth["of"] == "jokes":
                return {**truth, "seen": [setup for setup, _ in JOKES[truth["lang"]] if setup not in truth["seen"]]}
            return {**truth, "item": rng.choice(truth["seen"])}
        if kind == "language" and rng.random() < 0.5:
            back = in_other_language(truth["of"], truth["lang"], truth["inner"])
            if back is not None:
                return {**truth, "lang": OTHER[truth["lang"]], "inner": back}
        return {**truth, "inner": skill.spoil(rng, truth["lang"], truth["inner"])}

    def right_answer(self, rng: random.Random, prompt: Prompt) -> str:
        return self._rendered(rng, prompt, prompt.truth, self.moods)

    def school_answer(self, rng: random.Random, prompt: Prompt) -> str:
        """Return a plain right answer; where the message requests a length, one of that length."""
        kind = prompt.truth["kind"]
        if kind in MOODS_OF:
            return self.right_answer(rng, prompt)
        return super().school_answer(rng, prompt)

    def _flawed(self, rng: random.Random, prompt: Prompt) -> str:
        truth, skill = prompt.truth, SUBJECTS[prompt.truth["of"]]
        if rng.random() < 0.1:
            return prompt.messages[-1]["content"]
        if type(skill).spoil is Skill.spoil and truth["kind"] != "question":  # it has no typical wrong value
            return skill.flawed_answer(rng, Prompt(skill.name, truth["lang"], prompt.messages, truth["inner"]))
        return self._rendered(rng, prompt, self.spoil(rng, prompt.lang, prompt.truth), self.moods)

    def _rendered(self, rng: random.Random, prompt: Prompt, truth: Truth, moods: Mapping[str, float]) -> str:
        for _ in range(8):
            forms = self.forms(rng, prompt.lang, truth)
            answer = render(rng, forms, truth["lang"], MOODS_OF.get(truth["kind"], moods))
            if truth is not prompt.truth or self.is_right(prompt.lang, truth, answer):
                return answer
        return render(rng, self.forms(rng, prompt.lang, truth), truth["lang"], {"plain": 1.0})

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        kind, inner, answer_lang = truth["kind"], truth["inner"], truth["lang"]
        skill = SUBJECTS[truth["of"]]
        if kind == "question":
            return _bare(truth["question"]) in _bare(answer)
        if kind == "another":
            return self._is_another(answer_lang, truth, answer)
        content = re.sub(
            r"^(yes|是的)[,.，。]?|you are right[,.]?|你说得对，|对不起，", " ", answer.strip(), flags=re.I
        )
        if not skill.is_right(answer_lang, inner, content):
            return False
        if kind == "shorter":
            return keeps_manner("brief", answer) or truth["of"] in ("definitions", "identity", "spelling")
        if kind in ("longer", "why"):
            return len(content) > len(skill.forms(random.Random(0), answer_lang, inner).bare) + 3
        return kind != "language" or is_in(answer_lang, without_fragments(answer))

    @staticmethod
    def _is_another(lang: str, truth: Truth, answer: str) -> bool:
        if truth["of"] == "jokes":
            return SUBJECTS["jokes"].is_right(lang, truth["inner"], answer) and not any(
                setup.lower().rstrip("?.。？") in answer.lower() for setup in truth["seen"]
            )
        found = [m for m in _members(lang, truth["inner"]) if _names(lang, answer, m)]
        return len(found) == 1 and found[0] not in truth["seen"]


def possible_kinds(subject: Subject) -> dict[str, float]:
    """Return the kinds of follow-ups that fit this subject, with their weights."""
    kinds: dict[str, float] = {"question": 0.8}
    if subject.skill in OPERANDS and subject.truth.get("family", "colour") in NAMED_FAMILIES:
        kinds["operand"] = 5.0
    if subject.skill in VALUED:
        kinds |= {"longer": 0.8, "why": 1.0, "sure": 1.0, "again": 0.8}
        kinds["wrong" if not subject.is_right else "shorter"] = 5.0 if not subject.is_right else 2.0
    if subject.skill in BOTH_LANGUAGES:
        kinds["language"] = 2.0
    if subject.skill == "lists" or (subject.skill == "jokes" and subject.truth["kind"] == "joke"):
        kinds["another"] = 5.0
    return kinds


def another_operand(rng: random.Random, subject: Subject) -> tuple[str, Truth, str]:
    """Return a new operand for the subject's question, the new truth, and "of" where "And of X?" is natural."""
    skill, lang, truth = SUBJECTS[subject.skill], subject.lang, subject.truth
    while True:
        _, fresh = skill.draw(rng, lang, "train")
        same = all(fresh.get(k) == truth.get(k) for k in ("asks", "family", "kind") if k in truth)
        if not same or fresh == truth:
            continue
        if subject.skill == "capitals":
            asks = truth["asks"]
            return fresh["country" if asks == "capital" else "capital"], fresh, "of" if asks == "capital" else "in"
        if subject.skill == "facts":
            family = truth["family"]
            article = "a " if lang == "en" and family in ("legs", "sound") else ""
            return article + fresh["thing"], fresh, "of" if family == "colour" else "in"
        if subject.skill == "units":
            gap = " " if lang == "en" else ""
            if (fresh["of"].rstrip("s"), fresh["to"]) != (truth["of"].rstrip("s"), truth["to"]) and rng.random() < 0.9:
                continue
            if fresh["to"] != truth["to"]:
                continue
            return f"{fresh['n']}{gap}{fresh['of']}", fresh, "in"
        if subject.skill == "definitions" and lang == "en":
            article = DEFINITIONS[fresh["word"]][0].lower()
            return f"{article} {fresh['word']}".strip(), fresh, "in"
        return fresh["word"], fresh, "of" if subject.skill in ("opposites", "word_forms") else "in"


def named_items(subject: Subject) -> list[str]:
    """Return the jokes' setups or the list's members that an answer names."""
    if subject.skill == "jokes":
        return [setup for setup, _ in JOKES[subject.lang] if setup.lower().rstrip("?.。？") in subject.answer.lower()]
    members = _members(subject.lang, subject.truth)
    return [m for m in members if _names(subject.lang, subject.answer, m)] or [members[0]]


def _members(lang: str, truth: Truth) -> Sequence[str]:
    return (CATEGORIES if lang == "en" else CATEGORIES_ZH)[truth["kind"]]


def _names(lang: str, text: str, item: str) -> bool:
    if lang == "zh":
        return item in text
    return re.search(rf"(?<![a-z]){re.escape(item.lower())}(?![a-z])", text.lower()) is not None


def _bare(text: str) -> str:
    return re.sub(r"[^\w\u4e00-\u9fff]+", " ", text.lower()).strip()
