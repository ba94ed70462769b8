"""An answer as it is spoken: markdown where the terminal can show it, plain text everywhere else."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING

from attune.cli.options import console

if TYPE_CHECKING:
    from rich.live import Live

FENCE = "```"


def can_show_markdown() -> bool:
    """Whether stdout is a terminal that can move its cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class PlainRendering:
    """Writes pieces as they come, and a line end at the end."""

    def __init__(self) -> None:
        self._ends_line = True

    def __enter__(self) -> PlainRendering:
        return self

    def say(self, piece: str) -> None:
        """Write one piece."""
        sys.stdout.write(piece)
        sys.stdout.flush()
        self._ends_line = piece.endswith("\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ends_line:
            print(flush=True)


class MarkdownRendering(PlainRendering):
    """Shows markdown while it comes: a finished block is printed for good, only the last one is drawn anew with each
    piece.

    So an answer longer than the screen scrolls up like any output, which drawing all of it anew would not let it do.
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

    def say(self, piece: str) -> None:
        """Show one more piece."""
        done, self._open = finished_blocks(self._open + piece)
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
    """Cut markdown after its last blank line outside a code fence: (what will not change any more, the rest)."""
    cut = place = 0
    is_fenced = False
    for line in text.splitlines(keepends=True):
        place += len(line)
        if line.lstrip().startswith(FENCE):
            is_fenced = not is_fenced
        elif not line.strip() and line.endswith("\n") and not is_fenced:
            cut = place
    return text[:cut], text[cut:]


def speech(is_plain: bool) -> PlainRendering:
    """Return the way to show an answer here."""
    return PlainRendering() if is_plain or not can_show_markdown() else MarkdownRendering()
