"""A visitor of the page: one browser tab that records console errors and requests to other hosts."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Response

DESKTOP, PHONE = (1280, 860), (360, 740)


class Visitor:
    """One tab. `sent` holds the size in bytes of each of the page's own files, by path."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.problems: list[str] = []
        self.outside: list[str] = []
        self.sent: dict[str, int] = {}
        page.on("console", lambda message: message.type in ("error", "warning") and self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", self._note_request)
        page.on("response", self._note_response)

    def go(self, screen: str = "") -> Page:
        """Open a screen and wait until the page shows the live version."""
        self.page.goto(f"{self.url}/{screen}")
        self.page.locator(".strip-version strong").wait_for()
        return self.page

    def ask(self, text: str) -> None:
        """Send a message and wait for its answer, or for two answers to choose from."""
        self.page.locator("#message").fill(text)
        self.page.keyboard.press("Enter")
        self.page.locator(".exchange:last-of-type :is(.actions, .choices)").last.wait_for()

    def until(self, holds: Callable[[], bool], wait_s: float = 20.0) -> None:
        """Wait until a condition outside the page holds, while the page runs."""
        deadline = time.monotonic() + wait_s
        while not holds():
            assert time.monotonic() < deadline, f"it still does not hold after {wait_s} s"
            self.page.wait_for_timeout(20)

    def unsent(self) -> int:
        """Return the count of feedback that waits in the browser."""
        return self.page.evaluate("JSON.parse(localStorage.getItem('attune.queue') ?? '[]').length")

    def _note_request(self, request: Any) -> None:
        target = urlsplit(request.url)
        if target.scheme not in ("data", "blob") and target.netloc != urlsplit(self.url).netloc:
            self.outside.append(request.url)

    def _note_response(self, response: Response) -> None:
        path = urlsplit(response.url).path
        if path == "/" or path.startswith("/static/"):
            self.sent[path] = int(response.headers.get("content-length", 0))


@contextmanager
def visit(
    browser: Browser, url: str, *, language: str = "en-GB", size: tuple[int, int] = DESKTOP, dark: bool = False
) -> Iterator[Visitor]:
    """Yield a visitor with storage of their own; a phone has touch and no pointer that hovers."""
    is_phone = size[0] < 500
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        locale=language,
        color_scheme="dark" if dark else "light",
        has_touch=is_phone,
        is_mobile=is_phone,
        reduced_motion="reduce",
    )
    context.set_default_timeout(20_000)
    try:
        yield Visitor(context.new_page(), url)
    finally:
        context.close()
