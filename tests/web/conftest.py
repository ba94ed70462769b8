"""Fixtures: one browser for all tests of the page, and a fake service for each test."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Error, expect, sync_playwright

from tests.web.fake_service import Fake, Serving
from tests.web.visitor import Visitor, visit

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--headless=new",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium, started once."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium here: install the system's package 'chromium' to run the browser tests")
    expect.set_options(timeout=20_000)  # for a busy machine; a condition that holds is seen at once
    with sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        except Error as error:
            pytest.skip(f"{path} does not start: {error.message.splitlines()[0]}")
        yield started
        started.close()


@pytest.fixture
def serving() -> Iterator[Serving]:
    """A fake service with a socket of its own."""
    served = Serving(Fake())
    yield served
    served.stop()


@pytest.fixture
def fake(serving: Serving) -> Fake:
    """The state of that service."""
    return serving.fake


@pytest.fixture
def visitor(browser: Browser, serving: Serving) -> Iterator[Visitor]:
    """A visitor with an English desktop browser; the page must cause no error and no request to another host."""
    with visit(browser, serving.url) as person:
        yield person
        assert not person.problems
        assert not person.outside
