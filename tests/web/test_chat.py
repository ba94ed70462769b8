"""The chat: answers are shown safely, and feedback on them reaches the service."""

import re

import pytest
from playwright.sync_api import expect

from tests.web.fake_service import Fake
from tests.web.visitor import Visitor

pytestmark = pytest.mark.browser


def last(fake: Fake, path: str) -> dict:
    """Return the body of the newest request to a path."""
    return next(body for method, sent_to, body in reversed(fake.requests) if sent_to == path and method == "POST")


def wait_for_feedback(visitor: Visitor, fake: Fake, count: int) -> None:
    """Wait until the service has `count` rows of feedback."""
    visitor.until(lambda: len(fake.feedback) >= count)


def test_answer_streams_in_and_names_its_version(visitor: Visitor, fake: Fake) -> None:
    fake.token_s = 0.05
    page = visitor.go()
    page.locator("#message").fill("Tell me a joke.")
    page.keyboard.press("Enter")
    answer = page.locator(".answer .prose")
    expect(answer).to_contain_text("Why did")
    assert "field" not in answer.inner_text()  # the answer is still streaming
    expect(answer).to_contain_text("outstanding in his field")
    expect(answer.locator("em")).to_have_text("outstanding")
    expect(page.locator(".version-badge")).to_have_text("v0")
    assert last(fake, "/v1/chat/completions")["messages"] == [{"role": "user", "content": "Tell me a joke."}]


def test_code_is_framed_coloured_and_copied(visitor: Visitor) -> None:
    page = visitor.go()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.ask("Show me how to greet someone in Python.")
    expect(page.locator(".code-frame .tok-keyword").first).to_have_text("def")
    page.get_by_role("region", name="python").locator("xpath=..").get_by_role("button", name="Copy").click()
    assert page.evaluate("navigator.clipboard.readText()").startswith("def greet(name: str)")


def test_markup_in_an_answer_does_nothing(visitor: Visitor) -> None:
    page = visitor.go()
    visitor.ask("attack")
    expect(page.locator(".answer .prose strong")).to_have_text("safe")
    assert page.evaluate("window.hacked") is None
    assert page.locator(".answer .prose :is(script, img, [onerror], [href^='javascript'])").count() == 0


def test_stop_keeps_what_was_written(visitor: Visitor, fake: Fake) -> None:
    fake.token_s = 0.02
    page = visitor.go()
    page.locator("#message").fill("long")
    page.keyboard.press("Enter")
    expect(page.locator(".answer .prose")).to_contain_text("Paragraph 1")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".state-line")).to_contain_text("Stopped")
    assert "Paragraph 39" not in page.locator(".answer .prose").inner_text()
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_regenerating_is_recorded_and_asks_which_answer_is_better(visitor: Visitor, fake: Fake) -> None:
    page = visitor.go()
    visitor.ask("How many days are in a week?")
    first = next(iter(fake.completions))
    page.get_by_role("button", name="Answer again").click()
    expect(page.locator(".answer .prose")).to_contain_text("Monday")
    assert last(fake, "/v1/chat/completions")["metadata"] == {"regenerated_from": first}
    page.get_by_role("button", name="Worse").click()
    wait_for_feedback(visitor, fake, 1)
    feedback = last(fake, "/v1/feedback")
    assert (feedback["completion_id"], feedback["preferred_over"]["completion_id"]) == (
        first,
        list(fake.completions)[1],
    )
    expect(page.locator(".answer .prose")).to_have_text("Seven.")  # the better one is shown
    page.get_by_role("button", name="Next answer").click()
    expect(page.locator(".answer .prose")).to_contain_text("Monday")


def test_editing_the_last_question_asks_anew(visitor: Visitor, fake: Fake) -> None:
    page = visitor.go()
    visitor.ask("Hello there")
    page.get_by_role("button", name="Edit your question").click()
    page.locator(".editing textarea").fill("How many days are in a week?")
    page.keyboard.press("Enter")
    expect(page.locator(".answer .prose")).to_have_text("Seven.")
    assert len(last(fake, "/v1/chat/completions")["messages"]) == 1
    expect(page.locator(".bubble")).to_have_text("How many days are in a week?")


def test_thumb_reason_comment_and_taking_it_back(visitor: Visitor, fake: Fake) -> None:
    page = visitor.go()
    visitor.ask("Tell me a joke.")
    down = page.get_by_role("button", name="Bad answer")
    down.click()
    wait_for_feedback(visitor, fake, 1)
    page.get_by_role("button", name="Too long").click()
    wait_for_feedback(visitor, fake, 2)
    page.get_by_placeholder("Anything to add?").fill("I know this one")
    page.get_by_role("button", name="Done").click()
    wait_for_feedback(visitor, fake, 3)
    assert last(fake, "/v1/feedback") == {
        "completion_id": next(iter(fake.completions)),
        "choice": 0,
        "thumb": "down",
        "reason": "too_long",
        "comment": "I know this one",
    }
    expect(page.locator(".thanks")).to_be_visible()
    expect(down).to_have_attribute("aria-pressed", "true")
    down.click()
    expect(down).to_have_attribute("aria-pressed", "false")
    visitor.until(lambda: not visitor.unsent())
    assert all(row["retracted_at"] for row in fake.feedback)
    assert len(fake.keys) == 3  # one key for each row


def test_the_next_question_builds_on_the_correction(visitor: Visitor, fake: Fake) -> None:
    page = visitor.go()
    visitor.ask("Tell me a joke.")
    page.get_by_role("button", name="Correct this answer").click()
    page.locator(".correction textarea").fill("A better joke.")
    page.get_by_role("button", name="Save correction").click()
    expect(page.locator(".answer .prose")).to_have_text("A better joke.")
    wait_for_feedback(visitor, fake, 1)
    assert fake.feedback[0]["correction"] == "A better joke."
    visitor.ask("Another?")
    assert last(fake, "/v1/chat/completions")["messages"][1] == {"role": "assistant", "content": "A better joke."}


def test_conversation_and_draft_survive_a_reload(visitor: Visitor) -> None:
    page = visitor.go()
    visitor.ask("How many days are in a week?")
    page.locator("#message").fill("half a thought")
    page.reload()
    expect(page.locator(".answer .prose")).to_have_text("Seven.")
    expect(page.locator("#message")).to_have_value("half a thought")


def test_conversations_are_listed_searched_opened_and_deleted(visitor: Visitor, fake: Fake) -> None:
    page = visitor.go()
    visitor.ask("Tell me a joke.")
    page.get_by_role("link", name="New chat").click()
    visitor.ask("How many days are in a week?")
    items = page.locator(".history-item")
    expect(items).to_have_text(["How many days are in a week?", "Tell me a joke."])
    page.get_by_label("Search conversations").fill("joke")
    expect(items).to_have_text(["Tell me a joke."])
    items.first.click()
    expect(page.locator(".answer .prose")).to_contain_text("scarecrow")
    page.get_by_role("button", name="Delete “Tell me a joke.”").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".welcome")).to_be_visible()
    expect(page.locator("#message")).to_be_focused()  # the new conversation takes the focus before the search has it
    page.get_by_label("Search conversations").fill("")
    expect(items).to_have_text(["How many days are in a week?"])
    assert [row["title"] for row in fake.conversations.values()] == ["How many days are in a week?"]


def test_conversation_that_only_the_service_knows_is_rebuilt(visitor: Visitor, fake: Fake) -> None:
    before = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi!"},
        {"role": "user", "content": "Bye"},
    ]
    fake.conversations["c1"] = {
        "id": "c1",
        "title": "Hello",
        "created_at": "2026-01-01T00:00:00+00:00",
        "updated_at": "2026-01-01T00:00:00+00:00",
    }
    for number, messages, content in (
        ("a1", before[:1], "Hi!"),
        ("a2", before[:1], "Hello to you!"),
        ("a3", before, "See you."),
    ):
        fake.completions[number] = {
            "id": number,
            "choice": 0,
            "kind": "chat",
            "model": "attune@0",
            "messages": messages,
            "content": content,
            "conversation_id": "c1",
        }
    page = visitor.go("#/chat/c1")
    expect(page.locator(".bubble")).to_have_text(["Hello", "Bye"])
    expect(page.locator(".answer .prose")).to_have_text(["Hi!", "See you."])
    expect(page.locator(".pager")).to_contain_text("1/2")  # the other answer is still there


def test_only_a_correction_of_ones_own_stands_for_the_answer(visitor: Visitor, fake: Fake) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    at = "2026-01-01T00:00:00+00:00"
    fake.conversations["c1"] = {"id": "c1", "title": "Hello", "created_at": at, "updated_at": at}
    others = [
        {"id": "f1", "kind": "correction", "text": "Not mine.", "value": None, "own": False},
        {"id": "f2", "kind": "thumb", "value": 0.0, "text": None, "own": False},
    ]
    mine = {"id": "f3", "kind": "correction", "text": "My text.", "value": None, "own": True}
    row = {"choice": 0, "kind": "chat", "model": "attune@0", "conversation_id": "c1"}
    fake.completions["a1"] = {**row, "id": "a1", "messages": messages, "content": "Hi!", "feedback": others}
    longer = [*messages, {"role": "assistant", "content": "Hi!"}, {"role": "user", "content": "Bye"}]
    fake.completions["a2"] = {**row, "id": "a2", "messages": longer, "content": "So long.", "feedback": [mine, *others]}
    page = visitor.go("#/chat/c1")
    expect(page.locator(".answer .prose")).to_have_text(["Hi!", "My text."])
    expect(page.get_by_text("Corrected by you")).to_have_count(1)
    expect(page.locator(".answer [aria-pressed=true]")).to_have_count(0)
    visitor.ask("Again?")
    sent = last(fake, "/v1/chat/completions")["messages"]
    assert [message["content"] for message in sent] == ["Hello", "Hi!", "Bye", "My text.", "Again?"]


def test_a_conversation_that_was_deleted_elsewhere_is_not_continued(visitor: Visitor, fake: Fake) -> None:
    page = visitor.go()
    visitor.ask("Tell me a joke.")
    fake.deleted |= set(fake.conversations)
    page.locator("#message").fill("Another?")
    page.keyboard.press("Enter")
    expect(page.locator(".exchange").last).to_contain_text("This conversation no longer exists.")
    assert len(visitor.problems) == 1  # the browser notes the refusal
    visitor.problems.clear()


def test_talking_to_one_version_pins_it(visitor: Visitor, fake: Fake) -> None:
    fake.learn(step_s=0.0)
    page = visitor.go("#/versions/0")
    page.get_by_role("button", name="Chat with it").click()
    expect(page.locator(".pinned")).to_contain_text("attune@0")
    visitor.ask("Hello there")
    expect(page.locator(".version-badge")).to_have_text("v0")
    assert last(fake, "/v1/chat/completions")["model"] == "attune@0"
    page.get_by_role("button", name="Talk to the live version again").click()
    visitor.ask("And now?")
    expect(page.locator(".version-badge").last).to_have_text(re.compile("v1"))
