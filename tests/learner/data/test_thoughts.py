"""Thoughts of reasoning models are no part of what is rated, unless the rater wants them to be."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
from tokenizers import AddedToken

from learner.data.examples import Example
from learner.data.feedback_examples import examples_of
from policy.thoughts import ThoughtMarks, thought_marks
from store.completions import get_completion
from store.feedback import feedback_to_learn
from tests.learner.world import END, World
from tests.models import tiny_tokenizer

BEGIN, CLOSE, SPACE = 70, 71, 72
MARKS = ThoughtMarks(BEGIN, CLOSE, lambda token: token == SPACE)
PROMPT, WITHOUT = (1, 4, 20, 2, 5), (1, 4, 20, 2, 5, BEGIN, CLOSE)


def built(world: World) -> list[Example]:
    def render(messages: Sequence[Any], text: str) -> tuple[list[int], list[int]]:
        return list(WITHOUT), [ord(letter) for letter in text] + [END]

    rows = feedback_to_learn(world.db, 0)
    return examples_of(
        rows, lambda name, choice: get_completion(world.db, name, choice), render, max_tokens=64, thoughts=MARKS
    ).found


def test_the_sides_of_a_pair_are_the_answers_after_the_prompt_without_thinking(world: World) -> None:
    short = world.completion(PROMPT, (BEGIN, 30, 31, CLOSE, SPACE, 40, END), logps=[-0.5] * 7)
    long = world.completion(PROMPT, (BEGIN, 32, CLOSE, SPACE, SPACE, 41, 42, END))
    world.choice(short, long, "A")
    (pair,) = built(world)
    assert (pair.kind, pair.prompt_ids) == ("pair", WITHOUT)
    assert [(side.ids, side.logps) for side in pair.completions] == [((40, END), None), ((41, 42, END), None)]


def test_answers_without_thoughts_stay_as_they_were_sampled(world: World) -> None:
    world.thumb(world.completion(PROMPT, (40, 41, END), logps=[-0.5, -0.25, -0.125]), up=True)
    world.thumb(world.completion(WITHOUT, (42, END)), up=False)
    first, second = built(world)
    assert first.good is not None
    assert (first.prompt_ids, first.good.ids, first.good.logps) == (PROMPT, (40, 41, END), (-0.5, -0.25, -0.125))
    assert (second.prompt_ids, second.completions[0].ids) == (WITHOUT, (42, END))


@pytest.mark.parametrize(("prompt", "ids"), [(PROMPT, (BEGIN, 30, 31)), ((*PROMPT, BEGIN), (30, 31))])
def test_of_thoughts_that_were_cut_off_nothing_is_rated(
    prompt: tuple[int, ...], ids: tuple[int, ...], world: World
) -> None:
    world.thumb(world.completion(prompt, ids, finish="length"), up=True)
    assert built(world) == []


def test_a_correction_is_of_the_answer_and_follows_the_same_prompt(world: World) -> None:
    wrong = world.completion((*PROMPT, BEGIN), (30, CLOSE, SPACE, 40, END))
    world.feedback("correction", wrong, text="A")
    (example,) = built(world)
    assert (example.prompt_ids, [side.ids for side in example.completions]) == (WITHOUT, [(65, END), (40, END)])


def test_a_rater_may_rate_the_thoughts_too(world: World) -> None:
    completion = world.completion(PROMPT, (BEGIN, 30, CLOSE, SPACE, 40, END))
    world.feedback("thumb", completion, value=1.0, metadata={"thoughts": "rated"})
    (example,) = built(world)
    assert (example.prompt_ids, example.completions[0].ids) == (PROMPT, (BEGIN, 30, CLOSE, SPACE, 40, END))


def test_the_marks_are_the_tokenizers_own_tokens() -> None:
    plain = tiny_tokenizer()
    assert thought_marks(plain) is None
    thinking = copy.deepcopy(plain)
    thinking.add_tokens([AddedToken("<think>"), AddedToken("</think>")])
    marks = thought_marks(thinking)
    assert marks is not None
    ids = thinking.encode("<think>I see.</think>\n\nHello!", add_special_tokens=False)
    assert thinking.decode(marks.answer_of([1], ids) or []) == "Hello!"
    assert marks.answer_of([1], thinking.encode("Hello!", add_special_tokens=False)) is None
