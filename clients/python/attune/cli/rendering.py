"""Showing an answer while it streams: markdown where the terminal can show it, plain text elsewhere."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING

from attune.cli.printing import console

if TYPE_CHECKING:
    from rich.live import Live

FENCE = "```"


def can_show_markdown() -> bool:
    """Whether stdout is a terminal that can move its cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class PlainRendering:
    """Writes text as it arrives, and a line end at the end."""

    def __init__(self) -> None:
        self._ends_line = True

    def __enter__(self) -> PlainRendering:
        return self

    def add(self, delta: str) -> None:
        """Write more of the answer."""
        sys.stdout.write(delta)
        sys.stdout.flush()
        self._ends_line = delta.endswith("\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ends_line:
            print(flush=True)


class MarkdownRendering(PlainRendering):
    """Prints each finished block of markdown once, and redraws only the open block with each delta.

    So an answer longer than the screen scrolls up like other output.
    """

    def __init__(self) -> None:
        self._console = console()
        self._open = ""
        self._live: Live | None = None

    def __enter__(self) -> MarkdownRendering:
        from rich.live import Live

        self._live = Live(console=self._console, refresh_per_second=12, transient=True, vertical_overflow="ellipsis")
        self._live.start()
        return self

    def add(self, delta: str) -> None:
        """Show more of the answer."""
        done, self._open = finished_blocks(self._open + delta)
        self._show(done)
        self._draw()

    def _show(self, text: str) -> None:
        from rich.markdown import Markdown

        if text.strip() and self._live is not None:
            self._live.console.print(Markdown(text))

    def _draw(self) -> None:
        from rich.markdown import Markdown

        if self._live is not None:
            self._live.update(Markdown(self._open))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.update("")
            self._live.stop()
            self._show(self._open)


def finished_blocks(text: str) -> tuple[str, str]:
    """Split markdown after its last blank line outside a code fence; return (finished blocks, the rest)."""
    cut = end = 0
    is_fenced = False
    for line in text.splitlines(keepends=True):
        end += len(line)
        if line.lstrip().startswith(FENCE):
            is_fenced = not is_fenced
        elif not line.strip() and line.endswith("\n") and not is_fenced:
            cut = end
    return text[:cut], text[cut:]


def rendering_for(is_plain: bool) -> PlainRendering:
    """Return a rendering for stdout: markdown unless `is_plain` or stdout cannot show it."""
    return PlainRendering() if is_plain or not can_show_markdown() else MarkdownRendering()
