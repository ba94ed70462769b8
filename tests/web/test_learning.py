"""The strip, the learning screen and the versions screen: updates are shown as they happen and can be undone."""

import threading

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.web import scripted
from tests.web.fake_service import Fake, Serving
from tests.web.test_chat import wait_for_feedback
from tests.web.visitor import Visitor, visit

pytestmark = pytest.mark.browser


def learning(fake: Fake, **how: float) -> threading.Thread:
    """Play an update in a thread beside the browser."""
    thread = threading.Thread(target=fake.learn, kwargs=how)
    thread.start()
    return thread


def test_strip_follows_feedback_update_and_swap(visitor: Visitor, fake: Fake) -> None:
    page = visitor.go()
    expect(page.locator(".strip-version")).to_contain_text("Version 0")
    visitor.ask("Tell me a joke.")
    page.get_by_role("button", name="Good answer").click()
    wait_for_feedback(visitor, fake, 1)
    expect(page.locator(".strip-waits")).to_contain_text("1 of 16")
    expect(page.locator(".ticks .full")).to_have_count(1)
    update = learning(fake, step_s=0.06, items=18)
    expect(page.locator(".strip-status")).to_contain_text("Learning from 18 pieces of feedback")
    bar = page.get_by_role("progressbar", name="Progress of the update")
    expect(bar).not_to_have_attribute("aria-valuenow", "0")
    expect(page.locator(".strip-swap")).to_contain_text("Now talking to version 1, learned from 18 pieces of feedback.")
    expect(page.locator(".strip-version")).to_contain_text("Version 1")
    update.join()
    visitor.ask("Tell me a joke.")
    expect(page.locator(".version-badge").last).to_have_text("v1")


def test_sixteen_choices_make_a_version(visitor: Visitor, fake: Fake) -> None:
    fake.trigger = 3
    page = visitor.go()
    page.get_by_role("button", name="Compare two answers").click()
    for count in range(1, 4):
        visitor.ask("How many days are in a week?")
        page.keyboard.press("1")
        wait_for_feedback(visitor, fake, count)
    expect(page.locator(".strip-swap")).to_contain_text("version 1, learned from 3 pieces")


def test_rejected_version_does_not_go_live(visitor: Visitor, fake: Fake) -> None:
    page = visitor.go("#/versions")
    fake.learn(step_s=0.0, passes=False)
    row = page.locator(".version-row", has_text="Version 1")
    expect(row).to_contain_text("rejected")
    row.click()
    expect(page.locator(".verdict")).to_have_text("Did not pass")
    expect(page.locator(".checks .failing")).to_have_count(2)
    assert page.get_by_role("button", name="Make it live").count() == 0
    expect(page.locator(".strip-version")).to_contain_text("Version 0")


def test_versions_show_lineage_gate_and_differences(visitor: Visitor, fake: Fake) -> None:
    scripted.lived_in(fake)
    page = visitor.go("#/versions")
    expect(page.locator(".version-row")).to_have_count(7)
    assert page.locator(".lineage .bead").count() == 7
    assert page.locator(".lineage .branch.main").count() == 4  # 6 - 5 - 2 - 1 - 0; other versions branch off
    expect(page.locator(".checks tbody tr")).to_have_count(6)
    page.get_by_role("button", name="Let both answer").click()
    sample = page.locator(".sample").first
    expect(sample.locator("h4")).to_have_text("What is the capital of Japan?")
    expect(sample.locator("del").first).to_contain_text("Well")
    expect(sample.locator("ins").first).to_contain_text("The")
    expect(page.locator(".sample").last).to_contain_text("The same answer")


def test_roll_back_asks_first_and_then_does_it(visitor: Visitor, fake: Fake) -> None:
    fake.learn(step_s=0.0)
    page = visitor.go("#/versions/0")
    page.get_by_role("button", name="Roll back to this").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Cancel").click()
    assert fake.live["version"] == 1
    page.get_by_role("button", name="Roll back to this").click()
    dialog.get_by_role("button", name="Roll back to this").click()
    expect(page.locator(".strip-version")).to_contain_text("Version 0")
    expect(page.locator(".strip-swap")).to_contain_text("Back to version 0")
    expect(page.locator(".version-row", has_text="Version 1")).to_contain_text("withdrawn")


def test_a_part_of_the_conversations_tries_a_version_and_then_everybody(visitor: Visitor, fake: Fake) -> None:
    fake.learn(step_s=0.0)
    page = visitor.go("#/versions/0")
    page.get_by_role("button", name="Try it on a few").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("radio", name="10%")).to_be_checked()
    expect(dialog.get_by_role("radio", name="Everybody")).to_have_count(0)  # that would be a rollback
    dialog.get_by_text("25%").click()
    dialog.get_by_role("button", name="Try it on a few").click()
    expect(page.locator(".version-row", has_text="Version 0")).to_contain_text("canary")
    assert [body for method, path, body in fake.requests if path.endswith("/promote")] == [{"canary": 0.25}]
    expect(page.locator(".strip-version")).to_contain_text("Version 0 tries 25%")
    page.get_by_role("button", name="End the trial").click()
    dialog.get_by_role("button", name="End the trial").click()
    expect(page.locator(".version-row", has_text="Version 0")).to_contain_text("withdrawn")
    expect(page.locator(".strip-version")).not_to_contain_text("tries")


def test_the_promote_dialog_asks_for_whom(visitor: Visitor, fake: Fake) -> None:
    fake.learn(step_s=0.0)
    fake.set_live(0)
    fake.versions[1].update(state="candidate", passed=False)
    page = visitor.go("#/versions/1")
    page.get_by_role("button", name="Make it live").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("radio", name="Everybody")).to_be_checked()
    expect(dialog.locator(".share-hint")).to_contain_text("Answers under way")
    dialog.get_by_text("5%", exact=True).click()
    expect(dialog.locator(".share-hint")).to_contain_text("the others to the live version")
    dialog.get_by_role("button", name="Do it").click()
    expect(page.locator(".version-detail .tiles")).to_contain_text("5% of conversations")
    page.get_by_role("button", name="Make it live").click()
    expect(dialog.get_by_role("radio", name="5%", exact=True)).to_be_checked()
    dialog.get_by_text("Everybody").click()
    expect(page.locator(".strip-version")).to_contain_text("Version 1 tries 5%")
    dialog.get_by_role("button", name="Do it").click()
    expect(page.locator(".strip-version")).not_to_contain_text("tries")  # it names version 1 before that too
    expect(page.locator(".strip-version")).to_contain_text("Version 1")
    assert [body for method, path, body in fake.requests if path.endswith("/promote")] == [{"canary": 0.05}, {}]


def test_a_withdrawn_version_is_made_live_for_all_or_not_at_all(visitor: Visitor, fake: Fake) -> None:
    fake.learn(step_s=0.0)
    fake.set_live(0)
    fake.versions[1]["state"] = "withdrawn"
    page = visitor.go("#/versions/1")
    page.get_by_role("button", name="Make it live").click()
    expect(page.get_by_role("dialog").get_by_role("radio")).to_have_count(0)
    page.get_by_role("dialog").get_by_role("button", name="Do it").click()
    expect(page.locator(".strip-version")).to_contain_text("Version 1")


def test_who_may_not_administer_sees_no_buttons_for_it(browser: Browser, serving: Serving, fake: Fake) -> None:
    fake.admin = False
    fake.learn(step_s=0.0)
    with visit(browser, serving.url) as visitor:
        page = visitor.go("#/versions/0")
        expect(page.get_by_role("button", name="Chat with it")).to_be_visible()
        expect(page.get_by_role("button", name="Roll back to this")).to_have_count(0)
        visitor.go("#/learning")
        expect(page.get_by_role("button", name="Update now")).to_have_count(0)


def test_learning_screen_draws_what_happened_and_gives_orders(visitor: Visitor, fake: Fake) -> None:
    scripted.lived_in(fake)
    page = visitor.go("#/learning")
    expect(page.locator(".chart")).to_have_count(5)
    assert page.locator(".chart rect").count() > 20
    expect(page.locator(".point.live")).to_have_count(1)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".strip-status")).to_contain_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".state-name")).to_have_text("Idle")
    page.get_by_role("button", name="Update now").click()
    expect(page.locator(".live-loss .stroke-2")).to_be_visible()
    expect(page.locator(".strip-version")).to_contain_text("Version 7")


def test_the_preparation_is_shown_with_how_far_it_is(visitor: Visitor, fake: Fake) -> None:
    fake.state = "preparing"
    page = visitor.go("#/learning")
    expect(page.locator(".strip-status")).to_have_text("Preparing to learn, 25%")
    expect(page.locator(".state-name")).to_have_text("Preparing")
    expect(page.get_by_text("16 of 64 prompts")).to_be_visible()
    expect(page.get_by_role("button", name="Update now")).to_be_visible()


def test_the_reward_model_s_accuracy_is_there_with_its_interval(visitor: Visitor, fake: Fake) -> None:
    nothing = {"count": 0, "accuracy": None, "low": None, "high": None}
    fake.reward_model = {
        "number": 3,
        "labels": 212,
        "pairs": {"count": 180, "accuracy": 0.72, "low": 0.65, "high": 0.78},
        "equal_length": {"count": 40, "accuracy": 0.6, "low": 0.45, "high": 0.73},
        "thumbs": nothing,
    }
    page = visitor.go("#/learning")
    shown = page.locator(".reward-model")
    expect(shown).to_contain_text("has learned from 212 labels. It predicted 72% of the last 180 choices")
    expect(shown).to_contain_text("equal length: 60% of 40 choices (45% to 73%)")
    expect(shown).not_to_contain_text("Thumbs")


def test_the_last_update_s_losses_are_there_after_a_reload(visitor: Visitor, fake: Fake) -> None:
    scripted.lived_in(fake)
    newest = fake.versions[-1]
    curve = [{"step": step, "loss": 0.7 - 0.05 * step} for step in range(1, 7)]
    newest["run"] = {**newest["run"], "metrics": {**newest["metrics"], "curve": curve}}
    page = visitor.go("#/learning")
    expect(page.locator(".live-loss .stroke-2")).to_be_visible()
    expect(page.locator(".live-loss")).to_contain_text("Loss of the last update")
    page.reload()
    expect(page.locator(".live-loss .stroke-2")).to_be_visible()


def test_features_that_the_service_lacks_are_not_offered(visitor: Visitor, fake: Fake) -> None:
    def without(route: Route) -> None:
        schema = route.fetch().json()
        for path in (
            "/v1/comparisons",
            "/v1/learner/update",
            "/v1/versions/rollback",
            "/v1/export",
            "/v1/versions/{number}/samples",
        ):
            schema["paths"].pop(path)
        route.fulfill(json=schema)

    fake.learn(step_s=0.0)
    visitor.page.route("**/openapi.json", without)
    page = visitor.go("#/versions/0")
    expect(page.get_by_role("button", name="Chat with it")).to_be_visible()
    expect(page.get_by_role("button", name="Roll back to this")).to_have_count(0)
    expect(page.get_by_role("button", name="Let both answer")).to_have_count(0)
    visitor.go("#/learning")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(page.get_by_role("button", name="Update now")).to_have_count(0)
    visitor.go("#/settings")
    expect(page.get_by_role("button", name="Preferences")).to_have_count(0)
    visitor.go("#/chat")
    expect(page.get_by_role("button", name="Compare two answers")).to_have_count(0)
