"""The progress bar of an export or import."""

from __future__ import annotations

import sys

from attune._types.data_transfer import Progress


class ProgressBar:
    """A progress bar on stderr, if that is a terminal."""

    def __init__(self, title: str) -> None:
        from rich import progress
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self._bar = progress.Progress(
            *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
        )
        self._task = self._bar.add_task(title, total=None)

    def __enter__(self) -> Progress:
        self._bar.start()
        return lambda done, total: self._bar.update(self._task, completed=done, total=total)

    def __exit__(self, *raised: object) -> None:
        self._bar.stop()
