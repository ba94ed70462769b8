"""Checkers against the answers of their generators, and the split of trained and held-out prompts."""

import itertools
import random

import pytest

from pocket.skills import FEEDBACK_SKILLS, RETENTION_SKILLS, SKILLS, Prompt, measure
from pocket.skills.base import numbers_in
from pocket.skills.languages import in_other_language, is_in
from pocket.skills.refusing import refuses_and_points

CELLS = [(skill, lang) for skill in SKILLS.values() for lang in skill.languages]


def prompts(skill, lang, split, count=60, seed=1):
    return list(itertools.islice(skill.prompts(random.Random(seed), lang, split), count))


def text_of(prompt: Prompt) -> str:
    return "\n".join(m["content"] for m in prompt.messages).lower().rstrip("?.!？。！")


def test_there_are_enough_skills_in_both_languages():
    assert len(FEEDBACK_SKILLS) >= 16
    assert sum("zh" in skill.languages for skill in FEEDBACK_SKILLS.values()) >= 10
    assert RETENTION_SKILLS
    assert not set(FEEDBACK_SKILLS) & set(RETENTION_SKILLS)


@pytest.mark.parametrize(("skill", "lang"), CELLS, ids=lambda v: getattr(v, "name", v))
def test_right_answers_check_right_and_flawed_ones_wrong(skill, lang):
    rng = random.Random(2)
    for split in ("train", "held"):
        for prompt in prompts(skill, lang, split):
            right, plain, flawed = (
                make(rng, prompt) for make in (skill.right_answer, skill.school_answer, skill.flawed_answer)
            )
            assert skill.check(prompt, right).correct, (prompt, right)
            assert skill.check(prompt, plain).correct, (prompt, plain)
            assert not skill.check(prompt, flawed).correct, (prompt, flawed)
            assert not skill.check(prompt, "").correct
            assert not skill.check(prompt, " blah").correct


@pytest.mark.parametrize(("skill", "lang"), CELLS, ids=lambda v: getattr(v, "name", v))
def test_no_held_out_prompt_is_ever_trained(skill, lang):
    trained = {text_of(p) for p in prompts(skill, lang, "train", 1500, seed=3)}
    assert not trained & {text_of(p) for p in prompts(skill, lang, "held", 300, seed=4)}


@pytest.mark.parametrize(
    ("skill", "lang"),
    [c for c in CELLS if not c[0].retention and c[0].name not in ("manners", "follow_ups", "tools")],
    ids=lambda v: getattr(v, "name", v),
)
def test_right_answers_to_one_prompt_differ_in_length_and_punctuation(skill, lang):
    rng = random.Random(5)
    prompt = prompts(skill, lang, "train", 1)[0]
    styles = [measure(skill.right_answer(rng, prompt)) for _ in range(60)]
    assert len({s.chars for s in styles}) >= 5
    assert len({round(s.punctuation, 3) for s in styles}) >= 5


def test_meta_is_enough_to_check_later():
    prompt = prompts(SKILLS["arithmetic"], "en", "train", 1)[0]
    assert SKILLS["arithmetic"].check(prompt.meta, f"It is {prompt.truth['value']}.").correct
    assert not SKILLS["arithmetic"].check(prompt.meta, f"It is {prompt.truth['value'] + 1}.").correct


@pytest.mark.parametrize(
    ("name", "truth", "answer", "right"),
    [
        ("arithmetic", {"value": 12}, "The sum of 7 and 5 is twelve.", True),
        ("arithmetic", {"value": 12}, "7 + 5 = 12, or is it 13?", False),
        ("capitals", {"country": "France", "capital": "Paris", "asks": "capital"}, "paris", True),
        ("capitals", {"country": "France", "capital": "Paris", "asks": "capital"}, "Paris or Rome.", False),
        (
            "opposites",
            {"word": "bad", "value": "good"},
            "That is a good question, and I am glad that you asked. It is small.",
            False,
        ),
        ("spelling", {"word": "house", "value": "house"}, "h-o-u-s-e", True),
        ("spelling", {"word": "house", "value": "house"}, "House is spelled H-O-U-S.", False),
        ("lists", {"kind": "animals", "n": 3}, "- cat\n- dog\n- cow", True),
        ("lists", {"kind": "animals", "n": 3}, "Cat, dog and cat.", False),
        (
            "sorting",
            {"kind": "sort words", "items": ["pear", "apple", "fig"], "value": "apple, fig, pear"},
            "Apple, fig, pear.",
            True,
        ),
        (
            "sorting",
            {"kind": "sort words", "items": ["pear", "apple", "fig"], "value": "apple, fig, pear"},
            "Apple, pear, fig.",
            False,
        ),
        ("formats", {"kind": "json", "name": "Tom", "age": 7}, '```json\n{"age": 7, "name": "Tom"}\n```', True),
        ("formats", {"kind": "json", "name": "Tom", "age": 7}, "{name: Tom, age: 7}", False),
        (
            "manners",
            {
                "manner": "brief",
                "of": "capitals",
                "inner": {"country": "France", "capital": "Paris", "asks": "capital"},
            },
            "Paris.",
            True,
        ),
        (
            "manners",
            {
                "manner": "brief",
                "of": "capitals",
                "inner": {"country": "France", "capital": "Paris", "asks": "capital"},
            },
            "The capital of France is Paris.",
            False,
        ),
    ],
)
def test_checkers_on_answers_that_no_generator_wrote(name, truth, answer, right):
    assert SKILLS[name].check({"lang": "en", "truth": truth}, answer).correct is right


def truth_of(kind, of, inner, **more):
    return {"kind": kind, "of": of, "lang": "en", "inner": inner, **more}


SPAIN = {"country": "Spain", "capital": "Madrid", "continent": "Europe", "asks": "capital"}
CALL = {"kind": "call", "name": "calc", "arguments": {"expr": "12 * 7"}, "result": "84", "statement": "12 x 7 = {v}."}


@pytest.mark.parametrize(
    ("name", "truth", "answer", "right"),
    [
        ("follow_ups", truth_of("operand", "capitals", SPAIN), "It is Madrid.", True),
        ("follow_ups", truth_of("operand", "capitals", SPAIN), "It is Paris.", False),
        ("follow_ups", truth_of("shorter", "capitals", SPAIN), "Madrid", True),
        ("follow_ups", truth_of("shorter", "capitals", SPAIN), "The capital of Spain is Madrid.", False),
        ("follow_ups", truth_of("longer", "capitals", SPAIN), "The capital of Spain is Madrid.", True),
        ("follow_ups", truth_of("longer", "capitals", SPAIN), "Madrid", False),
        ("follow_ups", truth_of("wrong", "capitals", SPAIN), "You are right, it is Madrid.", True),
        ("follow_ups", truth_of("wrong", "capitals", SPAIN), "No, it is Rome.", False),
        ("follow_ups", truth_of("question", "capitals", SPAIN, question="Capital of Spain?"), "capital of spain", True),
        ("follow_ups", truth_of("question", "capitals", SPAIN, question="Capital of Spain?"), "Of Italy?", False),
        ("follow_ups", truth_of("another", "lists", {"kind": "birds", "n": 2}, seen=["owl"]), "A swan.", True),
        ("follow_ups", truth_of("another", "lists", {"kind": "birds", "n": 2}, seen=["owl"]), "An owl.", False),
        ("tools", CALL, '<tool_call>\n{"name": "calc", "arguments": {"expr": "12*7"}}\n</tool_call>', True),
        ("tools", CALL, '<tool_call>{"name": "calc", "arguments": {"expr": "12 * 7"}}</tool_call>', True),
        ("tools", CALL, '<tool_call>\n{"name": "calc", "arguments": {"expr": "12 + 7"}}\n</tool_call>', False),
        ("tools", CALL, '<tool_call>\n{"name": "sum", "arguments": {"expr": "12 * 7"}}\n</tool_call>', False),
        ("tools", CALL, '<tool_call>\n{"name": "calc", "arguments": {"expr": "12 * 7"}\n</tool_call>', False),
        ("tools", CALL, "12 x 7 = 84.", False),
        ("tools", {**CALL, "kind": "answer"}, "That makes 84.", True),
        ("tools", {**CALL, "kind": "answer"}, "That makes 85.", False),
        ("tools", {"kind": "none", "of": "capitals", "inner": SPAIN}, "Madrid.", True),
        (
            "tools",
            {"kind": "none", "of": "capitals", "inner": SPAIN},
            '<tool_call>\n{"name": "search", "arguments": {"query": "Madrid"}}\n</tool_call>',
            False,
        ),
    ],
)
def test_checkers_of_follow_ups_and_calls(name, truth, answer, right):
    assert SKILLS[name].check({"lang": "en", "truth": truth}, answer).correct is right


def test_the_same_question_in_the_other_language_and_back():
    for skill in ("capitals", "facts", "units"):
        for prompt in prompts(SKILLS[skill], "en", "train", 80):
            there = in_other_language(skill, "en", prompt.truth)
            if there is not None:
                assert is_in("zh", SKILLS[skill].forms(random.Random(0), "zh", there).sentence)
                assert in_other_language(skill, "zh", there) == prompt.truth


def test_style_measures():
    plain, loud = measure("The capital of France is Paris."), measure("🎉 **Paris**!!! 🎉")
    assert not plain.decorated
    assert plain.tidy
    assert loud.decorated
    assert (loud.emoji, loud.exclamations, loud.markdown) == (2, 3, True)
    assert loud.punctuation > plain.punctuation
    assert measure("Obviously, it is Paris.").rude
    assert measure("你好！").words == 2


def test_numbers_are_read_in_digits_and_spelled_out():
    assert numbers_in("Seven and 1,000 make 1007.") == [7, 1000, 1007]


def test_a_refusal_must_name_the_way_to_a_real_model():
    assert refuses_and_points("That is too hard for me. For a real model, run: attune serve --model NAME")
    assert not refuses_and_points("That is too hard for me.")
    assert not refuses_and_points("Sure! Use attune serve --model NAME")
