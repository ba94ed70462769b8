"""Feedback on two versions as a sequence of outcomes."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlite_utils import Database

from store.api_keys import make_key
from store.comparisons import Comparison, add_comparison
from store.completions import Completion
from store.database import transaction
from store.feedback import Feedback, add_feedback, retract_feedback
from store.ids import new_id, now
from store.outcomes import Evidence
from store.outcomes import outcomes as evidence
from store.raters import LOCAL_RATER, ensure_rater, set_quarantine
from store.versions import Version, add_version

MakeCompletion = Callable[..., Completion]
MakeFeedback = Callable[..., Feedback]


@pytest.fixture
def two(db: Database) -> Database:
    with transaction(db):
        add_version(db, Version(1, 0, "candidate", "d1", "", 0, "mixed", now()), ())
    return db


def outcomes(db: Database, number: int, rival: int, since: str) -> list[float]:
    return evidence(db, number, rival, since).outcomes


def choose(
    db: Database,
    make_completion: MakeCompletion,
    winner: str,
    rater: str = "ann",
    a: int = 1,
    b: int = 0,
    reason: str = "canary",
) -> Feedback:
    """Record a choice between a completion of version `a` and one of version `b`."""
    with transaction(db):
        left, right = (make_completion(version=side, asked_model=f"attune@{side}") for side in (a, b))
        asked = Comparison(new_id("cmp-"), rater, None, left.id, 0, right.id, 0, reason, 0.5, now())
        add_comparison(db, asked)
        given, _ = add_feedback(
            db, Feedback(new_id(), "choice", rater, left.id, 0, now(), "digest", right.id, 0, asked.id, winner=winner)
        )
    return given


def thumbs(
    db: Database,
    make_completion: MakeCompletion,
    make_feedback: MakeFeedback,
    version: int,
    values: list[float],
    rater: str = "ann",
) -> list[Feedback]:
    """Record a thumb on one completion for each value."""
    with transaction(db):
        return [
            add_feedback(db, make_feedback(make_completion(version=version), value=value, rater=rater))[0]
            for value in values
        ]


def test_choices_of_one_person_count_one_by_one_from_either_side(
    two: Database, make_completion: MakeCompletion
) -> None:
    for winner, a, b in (("A", 1, 0), ("A", 0, 1), ("tie", 1, 0), ("B", 1, 0), ("both_bad", 0, 1), ("A", 0, 0)):
        choose(two, make_completion, winner, a=a, b=b)
    assert outcomes(two, 1, 0, "") == [1.0, 0.0, 0.5, 0.0, 0.5]
    assert outcomes(two, 0, 1, "") == [0.0, 1.0, 0.5, 1.0, 0.5]


def test_thumbs_are_compared_in_turn_first_with_those_beside_then_with_the_latest_before(
    two: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    thumbs(two, make_completion, make_feedback, 0, [0.0, 1.0])
    since = now()
    thumbs(two, make_completion, make_feedback, 0, [0.0])
    thumbs(two, make_completion, make_feedback, 1, [1.0, 0.0, 1.0, 1.0])
    assert outcomes(two, 1, 0, since) == [
        1.0,
        0.0,
        1.0,
    ]  # after `since`: 0; before it, newest first: 1, 0; the fourth has no counterpart


def test_a_crowd_counts_by_person_and_day(two: Database, make_completion: MakeCompletion) -> None:
    for winner in "BBBB":
        choose(two, make_completion, winner, "ann")
    choose(two, make_completion, "A", "bob")
    choose(two, make_completion, "tie", "bob")
    assert outcomes(two, 1, 0, "") == [0.0, 0.0, 0.0, 0.0, 1.0, 0.5]  # two people: each vote counts
    ensure_rater(two, "carl")
    choose(two, make_completion, "A", "carl", a=0, b=0)  # not about the two versions
    assert outcomes(two, 1, 0, "") == [0.0, 0.75]


def test_what_was_retracted_replaced_or_given_in_quarantine_does_not_count(
    two: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    first, _ = choose(two, make_completion, "A"), choose(two, make_completion, "A", "bob")
    with transaction(two):
        retract_feedback(two, first.id, "ann")
        set_quarantine(two, "bob", "spam")
    assert outcomes(two, 1, 0, "") == []
    answer, other = make_completion(version=1), make_completion(version=0)
    with transaction(two):
        for completion, value in ((other, 1.0), (answer, 0.0), (answer, 1.0)):
            add_feedback(two, make_feedback(completion, value=value))
    assert outcomes(two, 1, 0, "") == [0.5]


def test_a_preference_between_the_two_counts(
    two: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    better, worse = make_completion(version=1), make_completion(version=0)
    with transaction(two):
        fields: dict[str, Any] = {"other_completion_id": worse.id, "other_choice": 0}
        add_feedback(two, make_feedback(better, "preference", **fields))
    assert outcomes(two, 1, 0, "") == [1.0]


def prefer(
    db: Database, make_feedback: MakeFeedback, better: Completion, worse: Completion, rater: str = "ann"
) -> None:
    with transaction(db):
        fields: dict[str, Any] = {"other_completion_id": worse.id, "other_choice": 0}
        add_feedback(db, make_feedback(better, "preference", rater=rater, **fields))


def test_the_same_preference_ten_times_is_one_vote_and_the_last_counts(
    two: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    live, before = make_completion(version=1), make_completion(version=0)
    for _ in range(10):
        prefer(two, make_feedback, before, live)
    assert outcomes(two, 1, 0, "") == [0.0]
    prefer(two, make_feedback, live, before)
    assert outcomes(two, 1, 0, "") == [1.0]
    prefer(two, make_feedback, before, live, "bob")
    assert outcomes(two, 1, 0, "") == [1.0, 0.0]


def test_answers_of_a_version_asked_for_by_name_do_not_count(
    two: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    pinned = [make_completion(version=number, asked_model=f"attune@{number}") for number in (1, 0)]
    asked = [make_completion(version=number) for number in (1, 0)]
    for live, before in (pinned, (pinned[0], asked[1]), (asked[0], pinned[1])):
        prefer(two, make_feedback, before, live)
    with transaction(two):
        for one, value in zip(pinned, (0.0, 1.0), strict=True):
            add_feedback(two, make_feedback(one, value=value))
    choose(two, make_completion, "B", reason="named")
    assert outcomes(two, 1, 0, "") == []
    prefer(two, make_feedback, asked[1], asked[0])
    assert outcomes(two, 1, 0, "") == [0.0]


def test_where_three_people_rate_one_alone_takes_nothing_back(two: Database, make_completion: MakeCompletion) -> None:
    make_key(two, "team", ("chat", "feedback"))
    for rater in ("bob", "carl"):
        ensure_rater(two, rater)
        choose(two, make_completion, "A", rater)
    for _ in range(20):
        choose(two, make_completion, "B", "ann")
    found = evidence(two, 1, 0, "")
    assert (found.against, found.needed, found.is_of_enough) == ({"ann"}, 2, False)
    assert found.outcomes == [1.0, 1.0, 0.0]
    for _ in range(2):
        choose(two, make_completion, "B", "bob")
    found = evidence(two, 1, 0, "")
    assert (found.against, found.is_of_enough) == ({"ann", "bob"}, True)


def test_with_fewer_than_three_people_each_decides_alone(two: Database, make_completion: MakeCompletion) -> None:
    make_key(two, "me", ("admin", "chat", "feedback"))
    choose(two, make_completion, "A", "bob")
    for _ in range(3):
        choose(two, make_completion, "B", "ann")
    assert evidence(two, 1, 0, "") == Evidence([1.0, 0.0, 0.0, 0.0], frozenset({"ann"}), 1)


def test_without_keys_the_owner_decides_alone_among_any_number(two: Database, make_completion: MakeCompletion) -> None:
    for rater in ("bob", "carl", LOCAL_RATER):
        ensure_rater(two, rater)
        choose(two, make_completion, "A" if rater != LOCAL_RATER else "B", rater)
    for _ in range(2):
        choose(two, make_completion, "B", LOCAL_RATER)
        choose(two, make_completion, "B", "ann")
    found = evidence(two, 1, 0, "")
    assert (found.outcomes, found.against, found.is_of_enough) == (
        [1.0, 1.0, 0.0, 0.0, 0.0, 0.0],
        {"ann", LOCAL_RATER},
        True,
    )
    with transaction(two):
        for row in list(two.query("SELECT id FROM feedback WHERE rater_id = ?", [LOCAL_RATER])):
            retract_feedback(two, row["id"], LOCAL_RATER)
    assert not evidence(two, 1, 0, "").is_of_enough  # ann alone
