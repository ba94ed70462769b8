"""The page against the real service with the smallest bundled model: from the first word to a new version, what it changed, and back."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.web.visitor import DESKTOP, PHONE, Visitor, visit

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]
SWAP_MS = 120_000  # a busy machine


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`attune serve` as people start it, on a free port and an empty data folder."""
    if not (ROOT / "pocket" / "weights" / "pocket-nano").is_dir():
        pytest.skip("the weights of pocket-nano are not here")
    log = tmp_path_factory.mktemp("real") / "log"
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--data", str(log.parent / "data"), "--model", "pocket-nano"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env={**os.environ, "OMP_NUM_THREADS": "2"})
    try:
        deadline = time.monotonic() + 120
        while (found := re.search(r"http://[\d.]+:\d+", log.read_text())) is None:
            assert process.poll() is None, f"the service ended: {log.read_text()[-800:]}"
            assert time.monotonic() < deadline, f"the service is not ready: {log.read_text()[-800:]}"
            time.sleep(0.1)
        yield found.group()
    finally:
        process.terminate()
        process.wait(30)


def teach(person: Visitor, rounds: int) -> None:
    """Rate one answer, then choose the shorter of two, so many times."""
    page = person.page
    person.ask("Name three animals.")
    page.locator(".thumb-up").last.click()
    page.locator(".composer .toggle").click()
    for _ in range(rounds):
        person.ask("What is the capital of France?")
        first, second = (card.inner_text() for card in page.locator(".card .prose").all())
        page.locator(".choice-A" if len(first) <= len(second) else ".choice-B").click()
        expect(page.locator(".choices")).to_have_count(0)
        expect(page.locator(".outcome summary").last).to_contain_text("0")  # named after the choice, not before


def test_two_people_teach_a_version_see_what_changed_and_roll_it_back(browser: Browser, address: str) -> None:
    """One with an English desktop, one with a Chinese phone, at the same time."""
    with (
        visit(browser, address, size=DESKTOP) as english,
        visit(browser, address, language="zh-CN", size=PHONE) as chinese,
    ):
        desktop, phone = english.go(), chinese.go()
        for page in (desktop, phone):
            page.set_default_timeout(30_000)
        teach(english, 3)
        teach(chinese, 2)
        english.until(lambda: not english.unsent() and not chinese.unsent())
        english.go("#/learning")
        update = desktop.get_by_role("button", name="Update now")
        expect(update.or_(desktop.locator(".state-name.running"))).to_be_visible(timeout=30_000)
        if update.is_visible():
            update.click()
        expect(desktop.locator(".strip-news")).to_contain_text(re.compile(r"Now talking to version 1, learned from \d+ pieces"), timeout=SWAP_MS)
        expect(phone.locator(".strip-news")).to_contain_text("现在与版本 1 对话", timeout=30_000)

        phone.locator(".composer .toggle").click()
        chinese.ask("Name three animals.")
        expect(phone.locator(".version-badge").last).to_have_text("v1")
        phone.locator(".strip-version").click()
        phone.locator(".version-row").first.click()
        phone.get_by_role("button", name="让两个版本回答").click()
        expect(phone.locator(".sample").first).to_be_visible(timeout=30_000)
        expect(phone.locator(".verdict")).to_have_text("通过全部检查")

        english.go("#/versions/0")
        desktop.get_by_role("button", name="Roll back to this").click()
        desktop.get_by_role("dialog").get_by_role("button", name="Roll back to this").click()
        expect(desktop.locator(".strip-version")).to_contain_text("Version 0", timeout=30_000)
        expect(phone.locator(".strip-version")).to_contain_text("版本 0")
        for person in (english, chinese):
            assert not person.problems
            assert not person.outside
