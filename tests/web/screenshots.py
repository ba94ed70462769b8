"""Takes the documentation's screenshots of a real service with the bundled model after some use.

python -m tests.web.screenshots [URL]      # URL of a running service; without it, one is started and taught (minutes)
"""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import attune
from tests.web.conftest import FLAGS
from tests.web.lived_in import lived_in

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
DESKTOP, PHONE = (1280, 800), (375, 740)
MOST_BYTES = 250_000
QUESTIONS = {
    "en": ("How many minutes are in 2 hours?", "What is the capital of Japan?", "Tell me a joke."),
    "zh": ("请问3米等于多少厘米？", "日本的首都是哪里？", "给我讲个笑话。"),
}


def chat(page: Page, questions: tuple[str, ...]) -> None:
    """Show an answer with a thumb and its form for a reason."""
    ask(page, questions[0])
    ask(page, questions[1])
    page.locator(".thumb-up").last.click()
    page.wait_for_timeout(900)


def compare(page: Page, questions: tuple[str, ...]) -> None:
    """Show two answers side by side."""
    page.locator(".composer .toggle").click()
    for _ in range(6):  # until the two answers differ
        ask(page, questions[2])
        first, second = (card.inner_text() for card in page.locator(".card .prose").all())
        if first != second:
            return
        page.locator(".choice-tie").click()
        page.locator("a.new-chat").evaluate("link => link.click()")


def versions(page: Page, questions: tuple[str, ...]) -> None:
    """Show the family tree and the live version's report."""
    page.locator("a[href='#/versions']:visible").last.click()
    page.locator(".version-row").last.wait_for()
    page.wait_for_timeout(700)


def changes(page: Page, questions: tuple[str, ...]) -> None:
    """Show answers of the live version and of the first one."""
    number = page.locator(".strip-version strong").inner_text().split()[-1]
    page.evaluate(f"location.hash = '#/versions/{number}'")
    page.locator(".against select").wait_for()
    page.locator(".against select").select_option("0")
    page.locator(".against + .button").click()
    page.locator(".sample").first.wait_for(timeout=60_000)
    page.locator(".block:has(.samples)").evaluate("node => node.scrollIntoView({block: 'start'})")
    page.wait_for_timeout(400)


def learning(page: Page, questions: tuple[str, ...]) -> None:
    """Show the learning screen."""
    page.locator("a[href='#/learning']:visible").last.click()
    page.locator(".chart").first.wait_for()
    page.wait_for_timeout(900)


def settings(page: Page, questions: tuple[str, ...]) -> None:
    """Show the settings."""
    page.locator("a[href='#/settings']:visible").last.click()
    page.wait_for_timeout(500)


def welcome(page: Page, questions: tuple[str, ...]) -> None:
    """Show an empty conversation."""
    page.wait_for_timeout(2200)


def ask(page: Page, text: str) -> None:
    """Send a message and wait for its answers."""
    page.locator("#message").fill(text)
    page.keyboard.press("Enter")
    page.locator(".exchange:last-of-type :is(.actions, .choices)").last.wait_for(timeout=60_000)
    page.wait_for_timeout(300)


SCREENS: tuple[Callable[[Page, tuple[str, ...]], None], ...] = (
    welcome,
    chat,
    compare,
    versions,
    changes,
    learning,
    settings,
)


def shoot(
    browser: Browser,
    url: str,
    name: str,
    screen: Callable[[Page, tuple[str, ...]], None],
    size: tuple[int, int],
    language: str,
    dark: bool,
) -> None:
    """Take one picture, with as few colors as the repository's size limit needs."""
    is_phone = size == PHONE
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        locale={"en": "en-GB", "zh": "zh-CN"}[language],
        color_scheme="dark" if dark else "light",
        device_scale_factor=2 if is_phone else 1.5,
        has_touch=is_phone,
        is_mobile=is_phone,
    )
    page = context.new_page()
    with attune.Client(url) as client:
        known = {conversation.id for conversation in client.conversations()}
    page.goto(url)
    page.locator(".strip-version strong").wait_for()
    screen(page, QUESTIONS[language])
    path = FOLDER / f"{name}.png"
    page.screenshot(path=path)
    context.close()
    with attune.Client(url) as client:  # the next picture must not show this one's conversations
        for conversation in client.conversations():
            if conversation.id not in known:
                client.delete_conversation(conversation.id)
    for colours in (256, 128, 64):
        with Image.open(path) as picture:
            picture.convert("RGB").quantize(colours).save(path, optimize=True)
        if path.stat().st_size < MOST_BYTES:
            break
    print(f"{path.name} {path.stat().st_size // 1000} kB", flush=True)


def update(page: Page, questions: tuple[str, ...]) -> None:
    """Show an update under way, after a dozen steps."""
    learning(page, questions)
    page.get_by_role("button", name="Update now").click()
    progress = page.locator(".now .progress")
    progress.wait_for(timeout=60_000)
    while progress.count() and int(progress.first.get_attribute("aria-valuenow") or 0) < 12:
        page.wait_for_timeout(100)


def shoot_update(browser: Browser, url: str) -> None:
    """Give enough feedback for an update, and take a picture of it."""
    with attune.Client(url) as client:
        for index, question in enumerate(QUESTIONS["en"] * 4):
            client.chat(question).rate("down" if index % 3 == 0 else "up")
        client.resume()
    shoot(browser, url, "update", update, DESKTOP, "en", False)


def main() -> None:
    """Take every picture."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    given = contextlib.nullcontext(sys.argv[1]) if len(sys.argv) > 1 else lived_in("pocket")
    with given as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        for screen in SCREENS:
            name = screen.__name__
            shoot(browser, url, name, screen, DESKTOP, "en", False)
            shoot(browser, url, f"{name}-dark", screen, DESKTOP, "en", True)
            shoot(browser, url, f"{name}-phone", screen, PHONE, "en", False)
            shoot(browser, url, f"{name}-phone-zh-dark", screen, PHONE, "zh", True)
        shoot_update(browser, url)
        browser.close()


if __name__ == "__main__":
    main()
