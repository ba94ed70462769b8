"""What a run learns from is the feedback of its range, earlier feedback for replay, and ties for a reward model."""

from dataclasses import replace

import pytest

from learner.data.material import FeedbackRange, Material, material_of
from store.database import transaction
from store.distrust import set_trust
from store.ids import now
from store.raters import set_quarantine
from store.runs import Run
from tests.learner.world import END, World

RUN = Run("run-1", "mixed", "running", {}, 0, 0, 0, 3, 7, now())


def material(world: World, feedback_range: FeedbackRange, max_tokens: int = 64) -> Material:
    return material_of(world.db, feedback_range, lambda messages, text: ([9], [8, END]), max_tokens=max_tokens)


def seqs(examples: object) -> list[int]:
    return [example.seq for example in examples]  # type: ignore[attr-defined]


@pytest.mark.parametrize("algorithm", ["mixed", "grpo"])
def test_a_run_has_ties_whatever_its_algorithm_since_the_reward_model_follows_all(world: World, algorithm: str) -> None:
    rows = [row.seq for row in world.likes_short(3)]
    tie = world.choice(world.completion((1, 4), (70, END)), world.completion((1, 4), (71, END)), "tie")
    run = replace(RUN, algorithm=algorithm, after_seq=rows[0] or 0, upto_seq=tie.seq or 0)
    assert FeedbackRange.of_run(run) == FeedbackRange(run.after_seq, run.upto_seq)
    assert seqs(material(world, FeedbackRange.of_run(run)).ties) == [tie.seq]


def test_with_nothing_new_all_feedback_is_earlier(world: World) -> None:
    rows = [row.seq for row in world.likes_short(3)]
    found = material(world, FeedbackRange.nothing_new())
    assert (seqs(found.new), seqs(found.earlier)) == ([], rows)


def test_new_examples_are_of_the_range_and_earlier_ones_come_before_it(world: World) -> None:
    rows = [row.seq for row in world.likes_short(9)]
    found = material(world, FeedbackRange(rows[2] or 0, rows[6] or 0))
    assert seqs(found.new) == rows[3:7]
    assert seqs(found.earlier) == rows[:3]
    assert material(world, FeedbackRange(0, rows[6] or 0)).earlier == ()


def test_everything_is_all_feedback_and_all_ties(world: World) -> None:
    rows = [row.seq for row in world.likes_short(3)]
    tie = world.choice(world.completion((1, 4), (70, END)), world.completion((1, 4), (71, END)), "tie")
    found = material(world, FeedbackRange.everything())
    assert (seqs(found.new), found.earlier) == (rows, ())
    assert [(example.seq, example.is_tie) for example in found.ties] == [(tie.seq, True)]


def test_trust_on_record_comes_along_and_quarantine_leaves_a_rater_out(world: World) -> None:
    world.likes_short(1)
    world.thumb(world.completion((1, 5), (30, END)), True, "eve")
    with transaction(world.db):
        set_trust(world.db, {"ann": 0.7})
        set_quarantine(world.db, "eve", "works against the others")
    found = material(world, FeedbackRange.everything())
    assert found.trust == {"ann": 0.7}
    assert {example.rater_id for example in found.new} == {"ann"}


def test_examples_longer_than_the_context_are_left_out(world: World) -> None:
    world.thumb(world.completion((1, 4), tuple(range(10, 40))), True)
    assert len(material(world, FeedbackRange.everything(), max_tokens=32).new) == 1
    assert material(world, FeedbackRange.everything(), max_tokens=31).new == ()
