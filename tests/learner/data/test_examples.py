"""From feedback rows to examples: stored ids, the right direction, and nothing uninformative."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from learner.data.algorithm_examples import for_algorithm
from learner.data.examples import Example
from learner.data.feedback_examples import Examples, examples_of
from learner.data.weighting import with_example_weights
from store.completions import get_completion
from store.database import transaction
from store.feedback import feedback_to_learn, retract_feedback
from tests.learner.world import END, World

PROMPT = (1, 4, 20, 2, 5)


def render_completion(messages: Sequence[Any], text: str) -> tuple[list[int], list[int]]:
    return [9, 9, 9], [ord(letter) for letter in text] + [END]


def all_examples(world: World, max_tokens: int = 64) -> Examples:
    return examples_of(
        feedback_to_learn(world.db, 0),
        lambda name, choice: get_completion(world.db, name, choice),
        render_completion,
        max_tokens=max_tokens,
        vocab_size=320,
    )


def built(world: World, max_tokens: int = 64) -> list[Example]:
    return all_examples(world, max_tokens).found


def test_a_choice_is_a_pair_of_the_sampled_ids_whichever_side_won(world: World) -> None:
    a, b = world.completion(PROMPT, (30, 31, END)), world.completion(PROMPT, (40, END), logps=[-0.5, -0.25])
    row = world.choice(a, b, "B")
    (pair,) = built(world)
    assert (pair.kind, pair.prompt_ids, pair.feedback_ids) == ("pair", PROMPT, (row.id,))
    assert pair.good is not None
    assert pair.bad is not None
    assert (pair.good.ids, pair.good.logps, pair.good.version) == ((40, END), (-0.5, -0.25), 0)
    assert pair.bad.ids == (30, 31, END)


def test_both_bad_is_two_thumbs_down_and_a_tie_is_nothing(world: World) -> None:
    a, b = world.completion(PROMPT, (30, END)), world.completion(PROMPT, (40, END))
    world.choice(a, b, "both_bad")
    world.choice(world.completion(PROMPT, (50, END)), world.completion(PROMPT, (51, END)), "tie")
    found = [(example.kind, example.up, example.completions[0].ids) for example in built(world)]
    assert found == [("thumb", False, (30, END)), ("thumb", False, (40, END))]


def test_a_correction_has_the_stored_prompt_and_the_rendered_text(world: World) -> None:
    wrong = world.completion(PROMPT, (30, 31, END))
    world.feedback("correction", wrong, text="ab")
    (correction,) = built(world)
    assert correction.prompt_ids == PROMPT
    assert correction.good is not None
    assert (correction.kind, correction.good.ids, correction.good.logps) == ("correction", (97, 98, END), None)


def test_asking_again_is_a_weak_thumb_down_that_makes_no_pair(world: World) -> None:
    first, second = world.completion(PROMPT, (30, END)), world.completion(PROMPT, (40, END))
    world.feedback("regenerate", first, other_completion_id=second.id, other_choice=0)
    world.thumb(second, up=True)
    implicit, thumb = built(world)
    assert (implicit.kind, implicit.up, implicit.is_implicit, implicit.completions[0].ids) == (
        "thumb",
        False,
        True,
        (30, END),
    )
    assert (thumb.up, thumb.is_implicit) == (True, False)
    weak, plain = with_example_weights(
        [implicit, replace(thumb, prompt_ids=(1,))], parent=0, trust={}, default_flip_rate=0.0
    )
    assert 0.0 < weak.example_weight <= 0.2 < plain.example_weight


def test_a_completion_that_was_cut_off_gets_no_end_of_turn(world: World) -> None:
    cut = world.completion(PROMPT, (30, 31, 32), finish="length")
    world.thumb(cut, up=False)
    (thumb,) = built(world)
    assert thumb.completions[0].ids == (30, 31, 32)


def test_a_score_counts_by_its_distance_from_the_middle(world: World) -> None:
    world.feedback("score", world.completion(PROMPT, (30, END)), value=0.9)
    world.feedback("score", world.completion((1, 2), (31, END)), value=0.25)
    assert [(example.up, example.share) for example in built(world)] == [
        (True, pytest.approx(0.8)),
        (False, pytest.approx(0.5)),
    ]


def test_thumbs_both_ways_on_one_prompt_make_a_pair_of_half_weight(world: World) -> None:
    good, bad, other = (
        world.completion(PROMPT, (30, END)),
        world.completion(PROMPT, (40, END)),
        world.completion((1, 2, 3), (50, END)),
    )
    up, _, down = world.thumb(good, True), world.thumb(other, True), world.thumb(bad, False)
    *thumbs, pair = built(world)
    assert [thumb.kind for thumb in thumbs] == ["thumb"] * 3
    assert (pair.kind, pair.share, pair.feedback_ids) == ("pair", 0.5, (up.id, down.id))
    assert [side.ids for side in pair.completions] == [(30, END), (40, END)]


def test_thumbs_of_two_people_make_no_pair(world: World) -> None:
    world.thumb(world.completion(PROMPT, (30, END)), True, "ann")
    world.thumb(world.completion(PROMPT, (40, END)), False, "bob")
    assert {example.kind for example in built(world)} == {"thumb"}


def test_uninformative_feedback_is_left_out(world: World) -> None:
    same = world.completion(PROMPT, (30, END)), world.completion(PROMPT, (30, END))
    world.choice(*same, "A")
    world.thumb(
        world.completion(PROMPT, tuple(range(10, 70))), True
    )  # prompt and completion are longer than the context
    world.thumb(world.completion(PROMPT, ()), True)
    retracted = world.thumb(world.completion(PROMPT, (33, END)), True)
    with transaction(world.db):
        retract_feedback(world.db, retracted.id, "ann")
    assert built(world) == []


def test_a_choice_against_another_model_is_half_a_thumb_for_ours(world: World) -> None:
    ours, backend = world.completion(PROMPT, (30, END)), world.completion((), (), version=None)
    world.choice(ours, backend, "B")
    (thumb,) = built(world)
    assert (thumb.kind, thumb.up, thumb.share, thumb.completions[0].ids) == ("thumb", False, 0.5, (30, END))


def test_completions_of_different_prompts_make_no_pair(world: World) -> None:
    better, worse = world.completion(PROMPT, (30, END)), world.completion((1, 2), (40, END))
    world.feedback("preference", better, other_completion_id=worse.id, other_choice=0)
    assert [(example.kind, example.up) for example in built(world)] == [("thumb", True), ("thumb", False)]


def test_each_algorithm_reads_what_it_can(world: World) -> None:
    world.choice(world.completion(PROMPT, (30, END)), world.completion(PROMPT, (40, END)), "A")
    world.thumb(world.completion((1, 2), (31, END)), False)
    world.feedback("correction", world.completion((1, 3), (32, END)), text="a")
    examples = built(world)
    kinds = {
        name: [(e.kind, len(e.completions), e.share) for e in for_algorithm(examples, name)]
        for name in ("mixed", "dpo", "kto", "sft")
    }
    assert kinds["mixed"] == [("pair", 2, 1.0), ("thumb", 1, 1.0), ("correction", 2, 1.0)]
    assert kinds["dpo"] == [("pair", 2, 1.0), ("pair", 2, 1.0)]
    assert kinds["kto"] == [
        ("thumb", 1, 0.5),
        ("thumb", 1, 0.5),
        ("thumb", 1, 1.0),
        ("thumb", 1, 0.5),
        ("thumb", 1, 0.5),
    ]
    assert kinds["sft"] == [("thumb", 1, 1.0), ("correction", 2, 1.0)]


def test_the_key_is_the_content(world: World) -> None:
    world.choice(world.completion(PROMPT, (30, END)), world.completion(PROMPT, (40, END)), "A")
    first, again = built(world)[0], built(world)[0]
    assert first.key == again.key
    assert first.key != replace(first, bad=first.good, good=first.bad).key


@pytest.mark.parametrize(
    ("ids", "logps", "reason"),
    [
        ((30, 320, END), None, "token id 320 is past the model's vocabulary of 320"),
        ((30, END), [-1.0, math.nan], "log-probability is no finite number"),
        ((30, END), [-math.inf, -1.0], "log-probability is no finite number"),
        ((30, END), [-1.0], "not one log-probability for each token"),
    ],
)
def test_a_damaged_row_is_left_out_and_named(
    world: World, ids: tuple[int, ...], logps: list[float] | None, reason: str
) -> None:
    good, bad = world.completion(PROMPT, (40, END)), world.completion(PROMPT, ids, logps=logps)
    world.thumb(good, True)
    damaged = world.thumb(bad, False)
    made = all_examples(world)
    assert [example.up for example in made.found] == [True]  # no pair with the damaged thumb either
    assert made.left_out.keys() == {damaged.id}
    assert reason in made.left_out[damaged.id]


def test_whatever_one_row_raises_the_others_are_made(world: World) -> None:
    first, second, third = (world.completion(PROMPT, (id_, END)) for id_ in (30, 31, 32))
    world.thumb(first, True)
    names = [world.thumb(second, True).id, world.feedback("correction", third, text="never shown").id]
    with transaction(world.db):
        world.db.execute("UPDATE completions SET prompt_ids = x'010203' WHERE id = ?", [second.id])
        world.db.execute("UPDATE completions SET messages = '{nope' WHERE id = ?", [third.id])
    made = all_examples(world)
    assert [example.good.ids for example in made.found if example.good] == [(30, END)]
    assert list(made.left_out) == names
    assert all("cannot be read" in reason and "shown" not in reason for reason in made.left_out.values())
