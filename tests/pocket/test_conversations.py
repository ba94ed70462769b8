"""Generated conversations: every answer is as its checker and its stage have it, and nothing mentioned is mixed up."""

import itertools
import random

import pytest

from pocket.conversations import FLAWS, NEVER_FLAWED, SYSTEMS, conversation
from pocket.skills import SKILLS
from pocket.skills.manners import SYSTEMS as MANNERS
from pocket.skills.tools import read_call


def chats(stage, count=150, seed=0, **options):
    return [conversation(random.Random(f"{seed} {number}"), stage, **options) for number in range(count)]


def test_the_same_seed_gives_the_same_conversation():
    assert [c.messages for c in chats("raw", 20)] == [c.messages for c in chats("raw", 20)]
    assert [c.messages for c in chats("raw", 20)] != [c.messages for c in chats("raw", 20, seed=1)]


@pytest.mark.parametrize("stage", ["school", "practice", "raw"])
def test_answers_are_right_or_flawed_as_noted(stage):
    for chat in chats(stage):
        for index, prompt in chat.prompts.items():
            answer = chat.messages[index]["content"]
            assert SKILLS[prompt.skill].check(prompt, answer).correct is chat.right[index], (chat.messages, index)


def test_a_known_share_of_the_raw_answers_is_flawed():
    flaws = [
        not chat.right[index]
        for chat in chats("raw", 400)
        for index, prompt in chat.prompts.items()
        if prompt.skill not in NEVER_FLAWED
    ]
    assert abs(sum(flaws) / len(flaws) - FLAWS) < 0.03


def test_people_and_assistant_take_turns():
    for chat in chats("raw"):
        roles = [m["role"] for m in chat.messages if m["role"] != "system"]
        assert roles[0] == "user"
        assert roles[-1] == "assistant"
        for before, after in itertools.pairwise(roles):
            assert after == "assistant" if before in ("user", "tool") else after in ("user", "tool")
        assert sum(m["role"] == "system" for m in chat.messages) <= 1


def test_the_number_of_questions_can_be_chosen():
    for chat in chats("school", 40, turns=12):
        assert sum(m["role"] == "user" for m in chat.messages) >= 12


def test_a_manner_lasts_to_the_end():
    plain = {text for texts in SYSTEMS.values() for text in texts}
    seen = 0
    for chat in chats("school", 400):
        if chat.messages[0]["role"] == "system" and chat.messages[0]["content"] not in plain:
            manners = {prompt.truth["manner"] for prompt in chat.prompts.values()}
            (manner,) = manners
            systems = [s for lang in MANNERS.values() for s in lang[manner]["train"]]
            assert chat.messages[0]["content"] in systems
            seen += 1
    assert seen > 20


def test_calls_are_of_functions_on_offer_and_without_an_offer_there_is_none():
    called = 0
    for chat in chats("school", 400):
        names = {tool["function"]["name"] for tool in chat.tools}
        for message in chat.messages:
            call = read_call(message["content"]) if message["role"] == "assistant" else None
            assert call is None or call["name"] in names
            called += call is not None
    assert called > 40


def test_what_is_asked_about_the_person_is_what_they_mentioned_last():
    asked = 0
    for chat in chats("school", 600):
        for index, prompt in chat.prompts.items():
            if prompt.skill != "context" or prompt.truth["kind"] == "sum":
                continue
            kind, value = prompt.truth["kind"], prompt.truth["value"]
            statements = [m["content"] for m in chat.messages[:index] if m["role"] == "user"]
            statement = prompt.messages[0]["content"]
            assert statement in statements
            later = statements[statements.index(statement) + 1 :]
            assert not [s for s in later if s.startswith("My name is ") and kind == "name" and value not in s]
            asked += 1
    assert asked > 50
