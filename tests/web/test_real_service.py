"""The page against the real service with the smallest bundled model: feedback, a new version, and a rollback."""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, expect

from store.database import open_to_read
from store.feedback import feedback_to_learn, list_feedback
from tests.served import ROOT, Served, serve, start
from tests.web.visitor import DESKTOP, PHONE, Visitor, visit

pytestmark = pytest.mark.browser
SWAP_MS = 180_000  # a busy machine
ANSWER_MS = 60_000


@dataclass(frozen=True)
class Texts:
    """The page's texts in one language."""

    language: str
    good: str
    update: str
    learned: str
    talking: str
    both_answer: str
    passed: str
    roll_back: str
    version: str


ENGLISH = Texts(
    "en-GB",
    "Good answer",
    "Update now",
    r"learned from \d+ pieces",
    "Now talking to version",
    "Let both answer",
    "Passed every check",
    "Roll back to this",
    "Version",
)
CHINESE = Texts(
    "zh-CN",
    "回答得好",
    "立即更新",
    r"学习了 \d+ 条反馈",
    "现在与版本",
    "让两个版本回答",
    "通过全部检查",
    "回退到此版本",
    "版本",
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running `attune serve` on a free port with an empty data folder."""
    if not (ROOT / "pocket" / "weights" / "pocket-nano").is_dir():
        pytest.skip("the weights of pocket-nano are not here")
    with serve(tmp_path_factory.mktemp("real") / "data") as running:
        yield running


def teach(person: Visitor, texts: Texts, rounds: int) -> None:
    """Rate one answer, then choose the shorter of two answers `rounds` times."""
    page = person.page
    person.ask("Name three animals.")
    page.get_by_role("button", name=texts.good).last.click()
    expect(page.get_by_role("button", name=texts.good).last).to_have_attribute("aria-pressed", "true")
    page.locator(".composer .toggle").click()
    for _ in range(rounds):
        person.ask("What is the capital of France?")
        first, second = (card.inner_text() for card in page.locator(".card .prose").all())
        page.locator(".choice-A" if len(first) <= len(second) else ".choice-B").click()
        expect(page.locator(".choices")).to_have_count(0)
        expect(page.locator(".outcome summary").last).to_contain_text(
            re.compile(r"\d")
        )  # named after the choice, not before
    page.locator(".composer .toggle").click()


def look_at_what_changed(person: Visitor, texts: Texts, number: int) -> None:
    """Follow the new version's badge to its gate report, and compare its answers with those before."""
    page = person.page
    person.ask("Name three animals.")
    expect(page.locator(".version-badge").last).to_have_text(f"v{number}")
    page.locator(".strip-version").click()
    page.locator(".version-row").first.click()
    expect(page.locator(".detail-head h2")).to_have_text(f"{texts.version} {number}")
    expect(page.locator(".verdict")).to_have_text(texts.passed)
    page.get_by_role("button", name=texts.both_answer).click()
    expect(page.locator(".sample").first).to_be_visible(timeout=ANSWER_MS)


def roll_back(page: Page, texts: Texts) -> None:
    """Roll back to version 0 and confirm."""
    page.get_by_role("button", name=texts.roll_back).click()
    page.get_by_role("dialog").get_by_role("button", name=texts.roll_back).click()


@pytest.mark.parametrize("turn", [0, 1], ids=["desktop-en-phone-zh", "desktop-zh-phone-en"])
def test_two_people_teach_a_version_see_what_changed_and_roll_it_back(
    browser: Browser, served: Served, turn: int
) -> None:
    """One person has a desktop and one a phone, at the same time, each in another language; then they swap."""
    at_desktop, on_phone = (ENGLISH, CHINESE) if turn == 0 else (CHINESE, ENGLISH)
    with (
        visit(browser, served.url, language=at_desktop.language, size=DESKTOP) as first,
        visit(browser, served.url, language=on_phone.language, size=PHONE) as second,
    ):
        desktop, phone = first.go(), second.go()
        for page in (desktop, phone):
            page.set_default_timeout(ANSWER_MS)
        teach(first, at_desktop, 3)
        teach(second, on_phone, 2)
        first.until(lambda: not first.unsent() and not second.unsent())
        first.go("#/learning")
        update = desktop.get_by_role("button", name=at_desktop.update)
        expect(update.or_(desktop.locator(".state-name.running"))).to_be_visible(timeout=ANSWER_MS)
        if update.is_visible():
            update.click()
        for page, texts in ((desktop, at_desktop), (phone, on_phone)):
            expect(page.locator(".strip-swap")).to_contain_text(texts.talking, timeout=SWAP_MS)
            expect(page.locator(".strip-swap")).to_contain_text(re.compile(texts.learned))
        number = int(re.findall(r"\d+", desktop.locator(".strip-version strong").inner_text())[0])
        assert number > turn

        first.go("#/chat")
        look_at_what_changed(first, at_desktop, number)
        look_at_what_changed(second, on_phone, number)

        who, texts = (first, at_desktop) if turn == 0 else (second, on_phone)
        who.go("#/versions/0")
        roll_back(who.page, texts)
        expect(desktop.locator(".strip-version")).to_contain_text(f"{at_desktop.version} 0", timeout=ANSWER_MS)
        expect(phone.locator(".strip-version")).to_contain_text(f"{on_phone.version} 0", timeout=ANSWER_MS)
        for person in (first, second):
            assert not person.problems
            assert not person.outside


def test_a_restart_of_the_real_service_loses_no_text_and_no_feedback(browser: Browser, served: Served) -> None:
    """The service is killed and restarts with the same port and data; a thumb, a question and a draft survive."""
    port = int(served.url.rpartition(":")[2])
    with visit(browser, served.url) as person:
        page = person.go()
        page.set_default_timeout(ANSWER_MS)
        person.ask("Name three animals.")
        answered = page.locator(".answer .prose").first.inner_text()
        served.kill()
        expect(page.locator("#banner")).to_contain_text("does not answer")
        page.get_by_role("button", name="Good answer").click()
        page.locator("#message").fill("What is the capital of Japan?")
        page.keyboard.press("Enter")
        expect(page.locator(".state-line")).to_contain_text("Your question is kept")
        page.locator("#message").fill("half a thought")
        served.process = start(served.data, port=port).process
        expect(page.locator("#banner")).to_be_hidden(timeout=ANSWER_MS)
        expect(page.locator(".exchange").last.locator(".actions")).to_be_visible(timeout=ANSWER_MS)
        expect(page.locator("#message")).to_have_value("half a thought")
        person.until(lambda: not person.unsent(), wait_s=60)
        page.reload()
        expect(page.locator(".answer .prose").first).to_have_text(answered)
        expect(page.get_by_role("button", name="Good answer").first).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#message")).to_have_value("half a thought")
        assert not person.outside


def standing(served: Served, after: int) -> list[str]:
    """Return the kinds of feedback past a sequence number that the learner would learn from."""
    with contextlib.closing(open_to_read(served.data)) as db:
        return [row.kind for row in feedback_to_learn(db, after)]


def rate_twice_with_a_reason(page: Page) -> None:
    """Give a thumb up, a reason, the other thumb and up again."""
    page.get_by_role("button", name="Good answer").click()
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Bad answer").click()
    page.get_by_role("button", name="Good answer").click()


def take_the_thumb_back(page: Page) -> None:
    page.get_by_role("button", name="Good answer").click()


def correct_twice(page: Page) -> None:
    """Save a correction, and then another one of the same answer."""
    for text in ("Ant, bee and cat.", "Ant, bee, cat."):
        page.get_by_role("button", name="Correct this answer").click()
        page.locator(".correction textarea").fill(text)
        page.get_by_role("button", name="Save correction").click()


def undo_the_correction(page: Page) -> None:
    page.locator(".mark").get_by_role("button", name="Undo").click()


def choose_a_side(page: Page) -> None:
    page.locator(".choice-A").click()
    expect(page.locator(".outcome summary")).to_contain_text(re.compile(r"[Vv]ersion \d"))


def undo_the_choice(page: Page) -> None:
    page.get_by_role("button", name="Undo this choice").click()
    expect(page.locator(".outcome summary")).to_contain_text("You took your choice back.")


@pytest.mark.parametrize(
    ("give", "undo", "num_rows", "is_reloaded"),
    [
        (rate_twice_with_a_reason, take_the_thumb_back, 4, False),
        (correct_twice, undo_the_correction, 2, True),
        (choose_a_side, undo_the_choice, 1, True),
    ],
    ids=["thumb", "correction", "choice"],
)
def test_undo_leaves_nothing_of_this_person_on_this_answer(
    browser: Browser,
    served: Served,
    give: Callable[[Page], None],
    undo: Callable[[Page], None],
    num_rows: int,
    is_reloaded: bool,
) -> None:
    with contextlib.closing(open_to_read(served.data)) as db:
        before = next((row.seq or 0 for row in list_feedback(db, limit=1)), 0)
    with visit(browser, served.url) as person:
        page = person.go()
        page.set_default_timeout(ANSWER_MS)
        if give is choose_a_side:
            page.locator(".composer .toggle").click()
        person.ask("Name three animals.")
        give(page)
        person.until(lambda: not person.unsent())
        assert len(standing(served, before)) == 1
        if is_reloaded:
            page.reload()
        undo(page)
        person.until(lambda: not person.unsent())
        assert standing(served, before) == []
        with contextlib.closing(open_to_read(served.data)) as db:
            rows = [row for row in list_feedback(db, limit=9) if (row.seq or 0) > before]
        assert len(rows) == num_rows
        assert not person.problems
