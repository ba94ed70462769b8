"""Blind comparisons: two answers, four choices by key or button, and the offer of a comparison within its budget."""

import pytest
from playwright.sync_api import expect

from tests.web.fake_service import Fake
from tests.web.test_chat import last, wait_for_feedback
from tests.web.visitor import Visitor

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("key", "winner", "kept"),
    [("1", "A", "Seven."), ("2", "B", "There are seven"), ("t", "tie", "Seven."), ("b", "both_bad", None)],
)
def test_choice_by_key_is_blind_until_made(
    visitor: Visitor, fake: Fake, key: str, winner: str, kept: str | None
) -> None:
    page = visitor.go()
    page.get_by_role("button", name="Compare two answers").click()
    visitor.ask("How many days are in a week?")
    assert "v0" not in page.locator(".pair").inner_text()
    assert page.locator(".pair .version-badge").count() == 0
    page.keyboard.press(key)
    wait_for_feedback(visitor, fake, 1)
    assert last(fake, "/v1/comparisons/cmp-3/choice") == {"winner": winner}
    expect(page.locator(".outcome summary")).to_contain_text("Version 0 wrote both")
    if kept is None:  # both are bad, so the page opens a correction
        expect(page.locator(".correction textarea")).to_be_visible()
    else:
        expect(page.locator(".answer .prose")).to_contain_text(kept)


def test_chosen_answer_carries_the_conversation_on(visitor: Visitor, fake: Fake) -> None:
    page = visitor.go()
    toggle = page.get_by_role("button", name="Compare two answers", exact=True)
    toggle.click()
    visitor.ask("How many days are in a week?")
    page.get_by_role("button", name="B is better").click()
    toggle.click()
    visitor.ask("Are you sure?")
    messages = last(fake, "/v1/chat/completions")["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"].startswith("There are seven")
    expect(page.locator(".outcome")).to_contain_text("See the other answer")


def test_typing_a_digit_into_the_message_chooses_nothing(visitor: Visitor, fake: Fake) -> None:
    page = visitor.go()
    page.get_by_role("button", name="Compare two answers").click()
    visitor.ask("How many days are in a week?")
    page.locator("#message").click()
    page.keyboard.type("1 t b 2")
    assert not fake.feedback
    expect(page.locator(".choices")).to_be_visible()


def test_open_comparison_survives_a_reload(visitor: Visitor, fake: Fake) -> None:
    page = visitor.go()
    page.get_by_role("button", name="Compare two answers").click()
    visitor.ask("How many days are in a week?")
    page.reload()
    page.get_by_role("button", name="A is better").click()
    wait_for_feedback(visitor, fake, 1)


def test_offer_of_a_comparison_is_rare_and_can_be_switched_off(visitor: Visitor) -> None:
    page = visitor.go()
    nudge = page.locator(".nudge")
    for number in range(4):
        visitor.ask(f"Question {number}")
        assert nudge.count() == 0
    visitor.ask("The fifth")
    expect(nudge).to_be_visible()
    nudge.get_by_role("button", name="Do not ask again").click()
    expect(nudge).to_have_count(0)
    for number in range(5):
        visitor.ask(f"More {number}")
        assert nudge.count() == 0


def test_offer_leads_to_a_comparison_of_the_same_prompt(visitor: Visitor, fake: Fake) -> None:
    page = visitor.go()
    for number in range(5):
        visitor.ask(f"Question {number}")
    page.locator(".nudge").get_by_role("button", name="Compare").click()
    page.locator(".choices").wait_for()
    assert last(fake, "/v1/comparisons")["messages"][-1]["content"] == "Question 4"
