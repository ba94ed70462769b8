"""A rater whose trust falls below a half: what learned from them is proposed for withdrawal, and withdrawn."""

from collections.abc import Callable

import pytest
from sqlite_utils import Database

from store.api_keys import make_key
from store.completions import Completion
from store.database import transaction
from store.distrust import Proposal, proposals, set_trust, withdraw_learned
from store.errors import UnknownRater
from store.events import events_after
from store.feedback import Feedback, add_feedback, feedback_to_learn
from store.ids import now
from store.raters import LOCAL_RATER, ensure_rater, get_rater
from store.versions import Version, add_version, live_version, set_live, versions

MakeCompletion = Callable[..., Completion]
MakeFeedback = Callable[..., Feedback]


@pytest.fixture
def taught(db: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback) -> Database:
    """Ann made version 1, bob 2, ann 3, which is live; a candidate 4 was made from it."""
    with transaction(db):
        for number, rater in enumerate(("ann", "bob", "ann"), 1):
            given, _ = add_feedback(db, make_feedback(make_completion(), rater=rater))
            version = Version(number, number - 1, "candidate", f"d{number}", "", given.seq or 0, "mixed", now())
            add_version(db, version, [given.id])
            set_live(db, number, "passed the gate")
        add_version(db, Version(4, 3, "candidate", "d4", "", 3, "mixed", now()), ())
    return db


def test_trust_below_a_half_is_an_event_once_and_a_proposal(taught: Database) -> None:
    make_key(taught, "team", ("chat",))
    for trust in (0.6, 0.4, 0.3, 0.7, 0.2):
        with transaction(taught):
            set_trust(taught, {"ann": 0.9, "bob": trust})
    assert proposals(taught) == {"bob": Proposal("bob", 0.2, [2, 3, 4], 1)}
    seen = [event.data for event in events_after(taught, 0) if event.kind == "rater.distrusted"]
    assert seen == [{"rater": "bob", "trust": trust, "versions": [2, 3, 4]} for trust in (0.4, 0.2)]


def test_what_learned_from_a_rater_is_withdrawn_with_its_descendants(taught: Database) -> None:
    with transaction(taught):
        set_trust(taught, {"bob": 0.2})
        leaving, heir = withdraw_learned(taught, "bob", "spam")
    assert ([version.number for version in leaving], heir.number) == ([2, 3, 4], 1)
    states = [version.state for version in versions(taught)]
    assert states == ["retired", "live", "withdrawn", "withdrawn", "withdrawn"]
    assert get_rater(taught, "bob").quarantine_reason == "spam"
    assert [row.rater_id for row in feedback_to_learn(taught, live_version(taught).watermark)] == ["ann"]
    assert proposals(taught) == {}


def test_a_rater_from_whom_nothing_was_learned_changes_no_traffic(taught: Database) -> None:
    with transaction(taught):
        ensure_rater(taught, "eve")
        set_trust(taught, {"eve": 0.1})
        assert proposals(taught) == {}
        leaving, heir = withdraw_learned(taught, "eve", "spam")
    assert (leaving, heir.number, live_version(taught).number) == ([], 3, 3)
    with pytest.raises(UnknownRater, match="nobody"):
        withdraw_learned(taught, "nobody", "spam")


def test_nothing_is_proposed_against_the_owner_of_a_service_without_keys(
    taught: Database, make_completion: MakeCompletion, make_feedback: MakeFeedback
) -> None:
    with transaction(taught):
        ensure_rater(taught, LOCAL_RATER)
        given, _ = add_feedback(taught, make_feedback(make_completion(), rater=LOCAL_RATER))
        add_version(taught, Version(5, 3, "candidate", "d5", "", given.seq or 0, "mixed", now()), [given.id])
        set_trust(taught, {LOCAL_RATER: 0.1})
    assert proposals(taught) == {}
    make_key(taught, "team", ("chat",))
    assert list(proposals(taught)) == [LOCAL_RATER]
