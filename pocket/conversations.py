"""Conversations of one to a dozen turns: topics change, follow-ups need the turn before, manners last to the end."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pocket.skills import SKILLS, Prompt, Skill
from pocket.skills.base import Message, Split
from pocket.skills.follow_ups import SUBJECTS, FollowUps, Subject
from pocket.skills.manners import SYSTEMS as MANNER_SYSTEMS
from pocket.skills.manners import Manners
from pocket.skills.tools import Offer, Tools, call_text, offer

Stage = Literal["school", "practice", "raw"]
"""School has right and plain answers, and practice too, mostly in the skills that are slow to learn. Raw is the final
mixture, with flawed answers. Facts are learned in fewer steps while no answer contradicts them.
"""
CHINESE_SHARE = {"school": 0.42, "practice": 0.46, "raw": 0.42}
"""Share of Chinese among the prompts of a skill with both languages."""
FLAWS = 0.25
"""Share of wrong answers in the raw mixture."""
NEVER_FLAWED = ("greeting",)
"""Skills whose answers are right in the raw mixture too: a greeting is always answered by one."""
SYSTEMS = {
    "en": ("You are a helpful assistant.", "You are Pocket.", "Answer the user."),
    "zh": ("你是一个有用的助手。", "你是Pocket。"),
}
MAX_TURNS = 14
"""Most questions of a conversation."""
WITH_FOLLOW_UP = 0.4
"""Share of the turns that follow the one before up, where that can be followed up."""
CHANGE_LANGUAGE = 0.1
"""Chance, for each turn, that the person changes the language."""
OPENINGS = {"manners": 0.1, "tools": 0.09, "system": 0.07}
"""Shares of conversations under a system message of a manner, with tools, under another system message."""


@dataclass
class Conversation:
    """A conversation as it grows. `answers` has the right or flawed answers by the index of their message."""

    rng: random.Random
    stage: Stage
    lang: str
    split: Split = "train"
    messages: list[Message] = field(default_factory=list)
    prompts: dict[int, Prompt] = field(default_factory=dict)
    """The prompt of each learned answer, by the answer's index in `messages`; its checker decides about an answer."""
    right: dict[int, bool] = field(default_factory=dict)
    tools: tuple[dict[str, Any], ...] = ()
    subject: Subject | None = None
    noted: list[int] = field(default_factory=list)
    """Indices of answers to mere statements: learned, but no checker knows them."""
    remembered: list[Prompt] = field(default_factory=list)
    """What the person has mentioned and not yet asked for."""

    def ask(self, text_or_messages: str | tuple[Message, ...], prompt: Prompt) -> None:
        """Add the person's message (or all of a prompt's) and an answer by this stage."""
        new = text_or_messages
        before = len(self.messages)
        self.messages += [{"role": "user", "content": new}] if isinstance(new, str) else list(new)
        self.noted += [
            index for index in range(before, len(self.messages)) if self.messages[index]["role"] == "assistant"
        ]
        is_right = self.stage != "raw" or prompt.skill in NEVER_FLAWED or self.rng.random() >= FLAWS
        answer = answer_of(self.rng, self.stage, prompt, is_right)
        self.prompts[len(self.messages)], self.right[len(self.messages)] = prompt, is_right
        self.messages.append({"role": "assistant", "content": answer})

    @property
    def last_question(self) -> str:
        """Return the person's last message."""
        return next(m["content"] for m in reversed(self.messages) if m["role"] == "user")


def answer_of(rng: random.Random, stage: Stage, prompt: Prompt, is_right: bool) -> str:
    """Return an answer to a prompt as this stage has them."""
    skill = SKILLS[prompt.skill]
    make = skill.school_answer if stage != "raw" else skill.right_answer if is_right else skill.flawed_answer
    return make(rng, prompt)


def shares(stage: Stage) -> Mapping[str, float]:
    """Return the share of each skill in a stage."""
    return {name: s.practice if stage == "practice" else s.weight for name, s in SKILLS.items()}


def draw_skill(rng: random.Random, stage: Stage, without: tuple[str, ...] = ()) -> Skill:
    """Return a skill drawn by its share in this stage."""
    by_name = {name: share for name, share in shares(stage).items() if name not in without}
    return SKILLS[rng.choices(list(by_name), weights=list(by_name.values()))[0]]


def language_of(rng: random.Random, stage: Stage) -> str:
    """Return the language of a conversation."""
    return "zh" if rng.random() < CHINESE_SHARE[stage] else "en"


def num_turns(rng: random.Random) -> int:
    """Return how many questions a conversation has: two to a dozen, short ones more often."""
    return min(MAX_TURNS, 2 + int(rng.expovariate(1 / 3.2)))


def conversation(rng: random.Random, stage: Stage, turns: int | None = None, split: Split = "train") -> Conversation:
    """Return a conversation of this stage with `turns` questions (default: a usual number)."""
    chat = Conversation(rng, stage, language_of(rng, stage), split)
    turns = turns or num_turns(rng)
    opening = rng.choices([*OPENINGS, "none"], weights=[*OPENINGS.values(), 1 - sum(OPENINGS.values())])[0]
    if opening == "manners":
        return _with_manner(chat, turns)
    offered = offer(rng, split) if opening == "tools" else None
    if offered:
        chat.tools = offered.tools
    if opening == "system" or (offered and rng.random() < 0.4):
        chat.messages.append({"role": "system", "content": rng.choice(SYSTEMS[chat.lang])})
    if turns > 1 and rng.random() < 0.3:
        _fresh(chat, SKILLS["greeting"])
        turns -= 1
    for _ in range(turns):
        _turn(chat, offered)
    return chat


def _turn(chat: Conversation, offered: Offer | None) -> None:
    """Add one question and its answer; a question that calls a function adds the result and the answer too."""
    rng = chat.rng
    if rng.random() < CHANGE_LANGUAGE:
        chat.lang = "zh" if chat.lang == "en" else "en"
    if chat.remembered and rng.random() < 0.3:
        prompt = chat.remembered.pop(rng.randrange(len(chat.remembered)))
        chat.ask((prompt.messages[-1],), prompt)
        chat.subject = None
        return
    if chat.subject and rng.random() < WITH_FOLLOW_UP and _follow_up(chat):
        return
    if offered and rng.random() < 0.55:
        _tool_turn(chat, offered)
        return
    if rng.random() < 0.06:
        _mention(chat)
        return
    without = ("manners", "tools", "follow_ups", *(("arithmetic", "units") if offered else ()))
    if rng.random() < 0.05:
        _fresh(chat, SKILLS["greeting"])
        return
    _fresh(chat, draw_skill(rng, chat.stage, without))


def _fresh(chat: Conversation, skill: Skill) -> None:
    """Add a question that needs no turn before."""
    lang = chat.lang if chat.lang in skill.languages else "en"
    prompt = skill.prompt(chat.rng, lang, chat.split)
    if prompt.messages[0]["role"] == "system" or prompt.tools:
        raise ValueError(f"{skill.name} has its own system message or tools")
    if skill.name == "context":
        chat.remembered = [other for other in chat.remembered if _topic(other) != _topic(prompt)]
    chat.ask(prompt.messages, prompt)
    chat.subject = _subject(chat, skill.name, lang, prompt) if skill.name in SUBJECTS else None


def _subject(chat: Conversation, skill: str, lang: str, prompt: Prompt) -> Subject:
    index = len(chat.messages) - 1
    return Subject(skill, lang, prompt.truth, chat.last_question, chat.messages[-1]["content"], chat.right[index])


def _follow_up(chat: Conversation) -> bool:
    """Add a message that follows the last turn up; return False where none fits."""
    follow_ups = SKILLS["follow_ups"]
    assert isinstance(follow_ups, FollowUps)  # the skill of this name
    assert chat.subject is not None  # the caller looked
    found = follow_ups.follow_up(chat.rng, chat.lang, chat.subject, chat.split)
    if found is None:
        return False
    text, truth = found
    prompt = Prompt("follow_ups", chat.lang, ({"role": "user", "content": text},), truth)
    chat.ask(text, prompt)
    if truth["kind"] == "another":
        seen = [*truth["seen"], chat.messages[-1]["content"]]  # the next "one more" must be none of these
        chat.subject = Subject(truth["of"], truth["lang"], truth["inner"], text, " ".join(seen), True)
    elif truth["kind"] == "question":
        chat.subject = None
    else:
        index = len(chat.messages) - 1
        answer = chat.messages[-1]["content"]
        chat.subject = Subject(truth["of"], truth["lang"], truth["inner"], text, answer, chat.right[index])
    return True


def _mention(chat: Conversation) -> None:
    """Let the person mention a name or a colour that is asked for some turns later."""
    context = SKILLS["context"]
    while True:
        prompt = context.prompt(chat.rng, chat.lang, chat.split)
        if prompt.truth["kind"] != "sum":
            break
    if _topic(prompt) in map(_topic, chat.remembered):
        return
    statement, noted, _ = prompt.messages
    chat.messages += [statement, noted]
    chat.noted.append(len(chat.messages) - 1)
    chat.remembered.append(prompt)
    chat.subject = None


def _topic(prompt: Prompt) -> tuple[str, str]:
    """Return what a prompt of earlier turns asks for: a later statement about it replaces an earlier one."""
    kind = prompt.truth["kind"]
    return kind, str(prompt.truth.get("thing", "")) if kind == "colour" else ""


def _tool_turn(chat: Conversation, offered: Offer) -> None:
    """Add a question, the call, the function's result and the answer."""
    tools = SKILLS["tools"]
    assert isinstance(tools, Tools)  # the skill of this name
    prompt = tools.call(chat.rng, chat.lang, offered, chat.split)
    chat.ask(prompt.messages, prompt)
    is_called = chat.right[len(chat.messages) - 1]
    chat.subject = None
    if is_called:
        after = tools.after(chat.rng, prompt)
        assert chat.messages[-1]["content"] == call_text(prompt.truth["name"], prompt.truth["arguments"])
        chat.ask((after.messages[-1],), after)


def _with_manner(chat: Conversation, turns: int) -> Conversation:
    """Return a conversation under a system message of a manner, which every answer keeps."""
    manners, rng = SKILLS["manners"], chat.rng
    assert isinstance(manners, Manners)  # the skill of this name
    manner = rng.choice(list(MANNER_SYSTEMS["en"]))
    spoken = rng.choice(("en", "zh")) if manner.startswith("in ") else chat.lang
    system: Message = {"role": "system", "content": rng.choice(MANNER_SYSTEMS[spoken][manner][chat.split])}
    chat.messages.append(system)
    for _ in range(turns):
        if manner.startswith("in ") and rng.random() < CHANGE_LANGUAGE:
            chat.lang = "zh" if chat.lang == "en" else "en"
        question, truth = manners.question(rng, chat.lang, manner, chat.split)
        chat.ask((question,), Prompt("manners", chat.lang, (system, question), truth))
    return chat
