"""A service that is away, busy or needs a key: no text and no feedback is lost, and none is sent twice."""

import pytest
from playwright.sync_api import Browser, expect

from tests.web.fake_service import Fake, Serving
from tests.web.visitor import Visitor, visit

pytestmark = pytest.mark.browser


def test_restart_loses_nothing(browser: Browser, serving: Serving, fake: Fake) -> None:
    with visit(browser, serving.url) as visitor:  # without the fixture: an absent service causes errors in the console
        page = visitor.go()
        visitor.ask("Tell me a joke.")
        serving.stop()
        expect(page.locator("#banner")).to_contain_text("does not answer")
        page.get_by_role("button", name="Good answer").click()
        expect(page.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")
        page.locator("#message").fill("How many days are in a week?")
        page.keyboard.press("Enter")
        expect(page.locator(".state-line")).to_contain_text("Your question is kept")
        page.locator("#message").fill("half a thought")
        assert not fake.feedback
        serving.start()
        page.get_by_role("button", name="Try now").click(timeout=2000)
        expect(page.locator("#banner")).to_be_hidden()
        expect(page.locator(".answer .prose").last).to_have_text("Seven.")
        expect(page.locator("#message")).to_have_value("half a thought")
        visitor.until(lambda: not visitor.unsent())
        assert [row["thumb"] for row in fake.feedback] == ["up"]
        assert not visitor.outside


def test_feedback_waits_through_a_reload_and_keeps_its_key(browser: Browser, serving: Serving, fake: Fake) -> None:
    with visit(browser, serving.url) as visitor:
        page = visitor.go()
        visitor.ask("Tell me a joke.")
        page.route("**/v1/feedback", lambda route: (route.fetch(), route.abort()))  # sent, but without a response
        page.get_by_role("button", name="Good answer").click()
        visitor.until(lambda: visitor.unsent() == 1)
        page.wait_for_timeout(300)
        page.unroute("**/v1/feedback")
        page.reload()
        visitor.until(lambda: not visitor.unsent())
        assert len(fake.feedback) == 1
        assert sum(path == "/v1/feedback" and method == "POST" for method, path, _ in fake.requests) >= 2


def test_what_is_undone_while_the_service_is_away_is_never_sent_and_what_was_sent_is_taken_back(
    browser: Browser, serving: Serving, fake: Fake
) -> None:
    with visit(browser, serving.url) as visitor:
        page = visitor.go()
        visitor.ask("Tell me a joke.")
        good = page.get_by_role("button", name="Good answer")
        good.click()
        visitor.until(lambda: not visitor.unsent())
        serving.stop()
        expect(page.locator("#banner")).to_contain_text("does not answer")
        page.get_by_role("button", name="Correct", exact=True).click()
        good.click()
        expect(good).to_have_attribute("aria-pressed", "false")
        serving.start()
        page.get_by_role("button", name="Try now").click(timeout=2000)
        visitor.until(lambda: not visitor.unsent())
        (row,) = fake.feedback
        assert row["retracted_at"]
        assert "reason" not in row


def test_broken_stream_offers_another_try(visitor: Visitor, fake: Fake) -> None:
    fake.break_after = 3
    page = visitor.go()
    page.locator("#message").fill("Tell me a joke.")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".answer .prose")).to_contain_text("in his field")
    assert page.locator(".pager").count() == 0


def test_busy_service_is_asked_again(browser: Browser, serving: Serving, fake: Fake) -> None:
    fake.busy = 1
    with visit(browser, serving.url) as visitor:
        page = visitor.go()
        page.locator("#message").fill("How many days are in a week?")
        page.keyboard.press("Enter")
        expect(page.locator(".state-line")).to_contain_text("busy")
        expect(page.locator(".answer .prose")).to_have_text("Seven.")


def test_a_fault_of_the_service_is_shown_with_the_id_of_the_request(
    browser: Browser, serving: Serving, fake: Fake
) -> None:
    with visit(browser, serving.url) as visitor:
        page = visitor.go()
        wrong = {
            "error": {
                "message": "something went wrong inside the service",
                "type": "server_error",
                "param": None,
                "code": "internal_error",
            }
        }
        page.route(
            "**/v1/chat/completions",
            lambda route: route.fulfill(status=500, json=wrong, headers={"X-Request-Id": "req-42"}),
        )
        page.locator("#message").fill("How many days are in a week?")
        page.keyboard.press("Enter")
        expect(page.locator(".state-line")).to_contain_text("something went wrong inside the service (req-42)")


def test_key_is_asked_for_and_used(browser: Browser, serving: Serving, fake: Fake) -> None:
    fake.key = "at-secret"
    with visit(browser, serving.url) as visitor:
        page = visitor.page
        page.goto(serving.url)
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("API key").fill("at-wrong")
        dialog.get_by_role("button", name="Use this key").click()
        expect(dialog.get_by_role("alert")).to_contain_text("wants an API key")
        dialog.get_by_label("API key").fill("at-secret")
        dialog.get_by_role("button", name="Use this key").click()
        expect(dialog).to_have_count(0)
        expect(page.locator(".strip-version")).to_contain_text("Version 0")
        visitor.ask("How many days are in a week?")
        expect(page.locator(".answer .prose")).to_have_text("Seven.")


def test_refused_feedback_is_reported_and_not_retried_for_ever(browser: Browser, serving: Serving, fake: Fake) -> None:
    with visit(browser, serving.url) as visitor:
        page = visitor.go()
        visitor.ask("Tell me a joke.")
        fake.completions.clear()
        page.get_by_role("button", name="Good answer").click()
        expect(page.locator(".notice.error")).to_contain_text("did not accept your feedback")
        visitor.until(lambda: not visitor.unsent())


def test_a_list_that_could_not_be_loaded_is_asked_for_again(browser: Browser, serving: Serving, fake: Fake) -> None:
    fake.conversations["c1"] = {
        "id": "c1",
        "title": "Hello",
        "created_at": "2026-01-01T00:00:00+00:00",
        "updated_at": "2026-01-01T00:00:00+00:00",
    }
    with visit(browser, serving.url) as visitor:
        failing = [True, True]
        visitor.page.route(
            "**/v1/conversations?*",
            lambda route: (
                route.fulfill(status=500, json={"error": {"message": "locked"}})
                if failing and failing.pop()
                else route.fallback()
            ),
        )
        page = visitor.go()
        expect(page.locator(".history .empty")).to_have_text("The list could not be loaded.")
        expect(page.locator(".history-item")).to_have_text(["Hello"], timeout=10_000)
        assert not failing


def test_without_an_event_stream_the_page_polls(browser: Browser, serving: Serving, fake: Fake) -> None:
    with visit(browser, serving.url) as visitor:
        visitor.page.route(
            "**/v1/events*", lambda route: route.fulfill(status=404, json={"error": {"message": "no such route"}})
        )
        page = visitor.go()
        fake.learn(step_s=0.0)
        expect(page.locator(".strip-version")).to_contain_text("Version 1")
