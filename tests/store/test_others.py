"""Keys, conversations, the learner's status, tallies."""

from collections.abc import Callable

import pytest
from sqlite_utils import Database

from store.api_keys import find_key, keys, make_key, revoke_key
from store.comparisons import Comparison, add_comparison
from store.completions import Completion
from store.conversations import conversations, delete_conversation, ensure_conversation, get_conversation
from store.errors import UnknownConversation, UnknownKey
from store.events import events_after
from store.feedback import Feedback, add_feedback
from store.ids import now
from store.learner import add_order, learner_status, report_status, set_attempted, set_paused, take_orders
from store.tallies import tallies, wilson_interval
from store.versions import Version, add_version


def test_a_key_is_found_by_its_secret_until_it_is_revoked(db: Database) -> None:
    key, secret = make_key(db, "laptop", ("chat", "feedback"))
    assert secret.startswith("at-")
    assert find_key(db, secret) == key
    assert secret not in str(list(db.query("SELECT * FROM api_keys")))
    revoke_key(db, key.id)
    assert find_key(db, secret) is None
    assert keys(db)[0].revoked_at is not None
    with pytest.raises(UnknownKey):
        revoke_key(db, key.id)
    with pytest.raises(ValueError, match="'root'"):
        make_key(db, "x", ("root",))


def test_conversations_are_found_searched_paged_and_deleted(db: Database) -> None:
    for name in ("one", "two", "three"):
        ensure_conversation(db, name, "ann", f"about {name}")
    ensure_conversation(db, "other", "bob", "about two")
    assert [found.id for found in conversations(db, "ann", search="two")] == ["two"]
    page = conversations(db, "ann", limit=2)
    assert [found.id for found in page] == ["three", "two"]
    assert [found.id for found in conversations(db, "ann", before=(page[-1].updated_at, page[-1].id))] == [
        "one",
        "talk",
    ]
    delete_conversation(db, "two")
    assert "two" not in [found.id for found in conversations(db, None)]
    with pytest.raises(UnknownConversation):
        get_conversation(db, "two")


def test_a_page_of_conversations_ends_anywhere_among_those_of_one_moment(db: Database) -> None:
    for name in "abcde":
        ensure_conversation(db, name, "bob", name)
    db.execute("UPDATE conversations SET updated_at = '2026-01-01' WHERE rater_id = 'bob'")
    found, before = [], None
    for _ in range(3):
        page = conversations(db, "bob", before=before, limit=2)
        found += [conversation.id for conversation in page]
        before = (page[-1].updated_at, page[-1].id)
    assert found == ["e", "d", "c", "b", "a"]


@pytest.mark.parametrize(
    ("search", "expected"),
    [("%", ["100 %"]), ("_", ["snake_case"]), ("\\", ["back\\slash"]), ("e_c", ["snake_case"]), ("0 %", ["100 %"])],
)
def test_each_character_of_a_search_means_itself(db: Database, search: str, expected: list[str]) -> None:
    for title in ("100 %", "snake_case", "back\\slash", "plain"):
        ensure_conversation(db, title, "bob", title)
    assert [found.title for found in conversations(db, "bob", search=search)] == expected


def test_a_conversation_is_continued_by_its_rater_until_it_is_deleted(db: Database) -> None:
    ensure_conversation(db, "anns", "ann", "about cats")
    with pytest.raises(UnknownConversation) as of_another:
        ensure_conversation(db, "anns", "bob", "about cats")
    delete_conversation(db, "anns")
    with pytest.raises(UnknownConversation) as deleted:
        ensure_conversation(db, "anns", "ann", "about cats")
    assert str(of_another.value) == str(deleted.value)


def test_orders_are_taken_once_and_a_change_of_state_is_one_event(db: Database) -> None:
    add_order(db, "update")
    add_order(db, "pause")
    assert take_orders(db) == ["update", "pause"]
    assert take_orders(db) == []
    with pytest.raises(ValueError, match="'dance'"):
        add_order(db, "dance")
    report_status(db, "running", run_id="r", progress={"step": 1})
    report_status(db, "running", run_id="r", progress={"step": 2})
    assert [event.data for event in events_after(db, 0) if event.kind == "learner.state"] == [{"state": "running"}]
    assert learner_status(db).progress == {"step": 2}
    set_paused(db, True)
    set_attempted(db, 5)
    set_attempted(db, 3)
    assert (learner_status(db).paused, learner_status(db).attempted_seq) == (True, 5)


def test_tallies_count_the_last_feedback_and_only_comparisons_of_two_versions(
    db: Database, make_completion: Callable[..., Completion], make_feedback: Callable[..., Feedback]
) -> None:
    add_version(db, Version(1, 0, "candidate", "d", "versions/000001", 0, "mixed", now()), ())
    old, new, same = make_completion(), make_completion(version=1), make_completion()
    for number, (a, b, winner) in enumerate([(old, new, "B"), (new, old, "A"), (old, new, "tie"), (old, same, "A")]):
        add_comparison(db, Comparison(f"q{number}", "ann", "talk", a.id, 0, b.id, 0, "asked", 0.5, now()))
        other = {"other_completion_id": b.id, "other_choice": 0, "comparison_id": f"q{number}"}
        add_feedback(db, make_feedback(a, "choice", winner=winner, **other))
    add_feedback(db, make_feedback(new, value=0.0))
    add_feedback(db, make_feedback(new))
    found = tallies(db)
    assert (found[1].wins, found[1].losses, found[1].ties, found[1].up, found[1].down) == (2, 0, 1, 1, 0)
    assert (found[0].wins, found[0].losses, found[0].ties) == (0, 2, 1)
    assert found[1].win_rate == pytest.approx(5 / 6)
    assert found[0].answers == 2


def test_wilson_interval_against_published_values() -> None:
    low, high = wilson_interval(0.5, 10)
    assert (low, high) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson_interval(1.0, 5)[1] == 1.0
