"""Feedback: durable, idempotent, retractable, and each rater's last feedback counts."""

from collections.abc import Callable

import pytest
from sqlite_utils import Database

from store.comparisons import Comparison, add_comparison
from store.completions import Completion
from store.errors import IdempotencyConflict, UnknownFeedback
from store.events import events_after
from store.feedback import (
    Feedback,
    add_feedback,
    count_feedback,
    count_to_learn,
    feedback_to_learn,
    get_feedback,
    list_feedback,
    retract_feedback,
)
from store.ids import now
from store.raters import set_quarantine

MakeCompletion = Callable[..., Completion]
MakeFeedback = Callable[..., Feedback]


def test_the_same_key_and_body_is_one_row(
    db: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    thumb = make_feedback(make_completion(), idempotency_key="k")
    first, replayed = add_feedback(db, thumb)
    again, replayed_again = add_feedback(db, thumb)
    assert (replayed, replayed_again) == (False, True)
    assert first == again
    assert count_feedback(db) == 1
    assert [event.kind for event in events_after(db, 0)].count("feedback") == 1


def test_the_same_key_with_another_body_is_refused_and_names_the_key(
    db: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    completion = make_completion()
    add_feedback(db, make_feedback(completion, idempotency_key="k"))
    with pytest.raises(IdempotencyConflict, match="'k'"):
        add_feedback(db, make_feedback(completion, value=0.0, idempotency_key="k"))
    assert count_feedback(db) == 1


def test_two_raters_may_use_the_same_key(
    db: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    completion = make_completion()
    add_feedback(db, make_feedback(completion, idempotency_key="k"))
    add_feedback(db, make_feedback(completion, rater="bob", idempotency_key="k"))
    assert count_feedback(db) == 2


def test_a_later_thumb_replaces_the_earlier_one_for_learning_and_both_stay(
    db: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    completion = make_completion()
    add_feedback(db, make_feedback(completion))
    last, _ = add_feedback(db, make_feedback(completion, "score", value=0.1))
    assert [row.id for row in feedback_to_learn(db, 0)] == [last.id]
    assert count_feedback(db) == 2


@pytest.mark.parametrize("undone", [0, 1, 2])
def test_undo_leaves_no_thumb_of_this_person_on_this_answer(
    db: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback, undone: int
) -> None:
    """Up, a reason, up again: whichever row is retracted, nothing is learned from."""
    completion, other = make_completion(), make_completion()
    rows = [add_feedback(db, make_feedback(completion, reason=reason))[0] for reason in (None, "clear", None)]
    kept = [
        add_feedback(db, feedback)[0]
        for feedback in (
            make_feedback(completion, rater="bob"),
            make_feedback(completion, "correction", text="Paris."),
            make_feedback(other, value=0.0),
        )
    ]
    retract_feedback(db, rows[undone].id, "ann")
    assert [row.id for row in feedback_to_learn(db, 0)] == [row.id for row in kept]
    assert {get_feedback(db, row.id).retracted_by for row in rows} == {"ann"}


def test_undo_takes_back_every_correction_and_every_score(
    db: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    completion = make_completion()
    for text in ("Paris", "Paris.", "It is Paris."):
        last, _ = add_feedback(db, make_feedback(completion, "correction", text=text))
    add_feedback(db, make_feedback(completion, "score", value=0.9))
    thumb, _ = add_feedback(db, make_feedback(completion))
    retract_feedback(db, last.id, "ann")
    assert [row.id for row in feedback_to_learn(db, 0)] == [thumb.id]
    retract_feedback(db, thumb.id, "ann")
    assert feedback_to_learn(db, 0) == []


def test_undo_takes_back_every_choice_on_a_pair_from_either_side(
    db: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    a, b = make_completion(), make_completion()
    add_comparison(db, Comparison("q", "ann", "talk", a.id, 0, b.id, 0, "asked", 0.5, now()))
    sides = {"other_completion_id": b.id, "other_choice": 0}
    for winner in ("A", "B", "A"):
        add_feedback(db, make_feedback(a, "choice", winner=winner, comparison_id="q", **sides))
    last, _ = add_feedback(db, make_feedback(b, "preference", other_completion_id=a.id, other_choice=0))
    assert [row.id for row in feedback_to_learn(db, 0)] == [last.id]
    retract_feedback(db, last.id, "ann")
    assert feedback_to_learn(db, 0) == []


def test_a_second_retraction_leaves_what_was_given_since(
    db: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    completion = make_completion()
    first, _ = add_feedback(db, make_feedback(completion))
    retract_feedback(db, first.id, "ann")
    again, _ = add_feedback(db, make_feedback(completion))
    retract_feedback(db, first.id, "ann")
    assert [row.id for row in feedback_to_learn(db, 0)] == [again.id]


@pytest.mark.parametrize("value", [1.0, 0.0])
def test_a_vote_under_the_key_of_a_retracted_one_is_a_new_row(
    db: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback, value: float
) -> None:
    completion = make_completion()
    first, _ = add_feedback(db, make_feedback(completion, idempotency_key="k"))
    retract_feedback(db, first.id, "ann")
    vote = make_feedback(completion, value=value, idempotency_key="k")
    again, was_there = add_feedback(db, vote)
    assert (again.id, was_there) == (vote.id, False)
    assert add_feedback(db, vote) == (again, True)
    assert [row.id for row in feedback_to_learn(db, 0)] == [again.id]


def test_retracting_what_is_not_there_is_an_error(db: Database) -> None:
    with pytest.raises(UnknownFeedback, match="nothing"):
        retract_feedback(db, "nothing", "ann")


def test_what_does_not_count_for_learning(
    db: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    ours, elsewhere = make_completion(), make_completion(version=None)
    add_feedback(db, make_feedback(elsewhere))
    add_feedback(db, make_feedback(ours, "score", value=0.5))
    add_feedback(db, make_feedback(ours, rater="bob"))
    set_quarantine(db, "bob", "spam")
    assert feedback_to_learn(db, 0) == []
    set_quarantine(db, "bob", None)
    assert [row.rater_id for row in feedback_to_learn(db, 0)] == ["bob"]


def test_asking_again_is_learned_from_but_begins_no_update_and_yields_to_other_feedback(
    db: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    first, second = make_completion(), make_completion()
    again, _ = add_feedback(
        db, make_feedback(first, "regenerate", value=None, other_completion_id=second.id, other_choice=0)
    )
    assert [row.id for row in feedback_to_learn(db, 0)] == [again.id]
    assert count_to_learn(db, 0) == (0, None, 0)
    preferred, _ = add_feedback(
        db, make_feedback(second, "preference", value=None, other_completion_id=first.id, other_choice=0)
    )
    assert [row.id for row in feedback_to_learn(db, 0)] == [preferred.id]
    retract_feedback(db, preferred.id, "ann")
    assert [row.id for row in feedback_to_learn(db, 0)] == [again.id]
    thumb, _ = add_feedback(db, make_feedback(first))
    assert [row.id for row in feedback_to_learn(db, 0)] == [thumb.id]


def test_asking_again_twice_counts_once(
    db: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    first, second, third = make_completion(), make_completion(), make_completion()
    add_feedback(db, make_feedback(first, "regenerate", value=None, other_completion_id=second.id, other_choice=0))
    last, _ = add_feedback(
        db, make_feedback(first, "regenerate", value=None, other_completion_id=third.id, other_choice=0)
    )
    assert [row.id for row in feedback_to_learn(db, 0)] == [last.id]


def test_ties_do_not_count_and_a_second_choice_replaces_the_first(
    db: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    a, b = make_completion(), make_completion()
    add_comparison(db, Comparison("q", "ann", "talk", a.id, 0, b.id, 0, "asked", 0.5, now()))
    sides = {"other_completion_id": b.id, "other_choice": 0, "comparison_id": "q"}
    add_feedback(db, make_feedback(a, "choice", winner="A", **sides))
    assert count_to_learn(db, 0)[0] == 1
    add_feedback(db, make_feedback(a, "choice", winner="tie", **sides))
    assert count_to_learn(db, 0) == (0, None, 0)


def test_counting_starts_after_the_watermark(
    db: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    rows = [add_feedback(db, make_feedback(make_completion()))[0] for _ in range(5)]
    assert count_to_learn(db, rows[1].seq or 0) == (3, rows[2].created_at, rows[4].seq)
    assert [row.seq for row in feedback_to_learn(db, 1, 3)] == [2, 3]


def test_pages_are_newest_first_and_do_not_overlap(
    db: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    for _ in range(5):
        add_feedback(db, make_feedback(make_completion()))
    page = list_feedback(db, limit=3)
    rest = list_feedback(db, limit=3, before_seq=page[-1].seq)
    assert [row.seq for row in page + rest] == [5, 4, 3, 2, 1]


def test_the_text_that_came_in_comes_out(
    db: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    kept, _ = add_feedback(
        db,
        make_feedback(
            make_completion(), "correction", text="你好！\u0000 \U0001f600", comment="c", metadata={"a": [1, None]}
        ),
    )
    assert get_feedback(db, kept.id) == kept
