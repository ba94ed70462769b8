"""The progress of `attune train` on stderr. Light: no torch."""

import sys
import time
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from learner.data.datasets import LeftOut
    from store.trl_rows import Form

PHASES = {"reference": "preparing", "train": "training", "gate": "checking", "save": "writing"}
LINE_EVERY_S = 10.0
LINE_EVERY_SHARE = 0.1  # of the steps


class Terminal:
    """A progress bar, which goes when it is done; where stderr is no terminal, a line now and then.

    Such a line comes when ten seconds have passed and a tenth of the steps.
    """

    def __init__(self) -> None:
        # People's paths and texts hold no markup; in a file or pipe no line is broken.
        self._console = Console(stderr=True, soft_wrap=True, markup=False, emoji=False, highlight=False)
        self._is_terminal = sys.stderr.isatty()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(24),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
        )
        self._bar = Progress(*columns, console=self._console, transient=True, disable=not self._is_terminal)
        self._task = self._bar.add_task("loading", total=None, count="")
        self._began = self._printed_at = time.monotonic()
        self._printed: tuple[str, int] = ("", 0)
        self.count = 0
        """Examples in the file."""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    @property
    def seconds(self) -> float:
        """Wall time since the start."""
        return time.monotonic() - self._began

    def quiet(self) -> None:
        """Print nothing from here on: another process does."""
        self._console.quiet = True

    def opened(self, form: "Form", count: int, left_out: "LeftOut") -> None:
        """Print what the file holds."""
        self.count = count
        self.print(f"{count} examples in the {form} form" + (f"; left out: {left_out}" if any(left_out) else ""))

    def phase(self, name: str, step: int, steps: int, loss: float | None, _metrics: dict[str, float]) -> None:
        """Show the progress."""
        what, count = PHASES.get(name, name), f"step {step} of {steps}" if name == "train" else ""
        shown = what if loss is None else f"{what}, loss {loss:.3f}"
        self._bar.update(self._task, description=shown, completed=step, total=steps or None, count=count)
        if not self._is_terminal and self._is_due(name, step, steps):
            self.print(
                ", ".join(
                    part
                    for part in (what, count, f"loss {loss:.3f}" if loss is not None else "", f"{self.seconds:.0f} s")
                    if part
                )
            )
            self._printed, self._printed_at = (name, step), time.monotonic()

    def print(self, line: str) -> None:
        """Write one line."""
        self._console.print(line)

    def _is_due(self, name: str, step: int, steps: int) -> bool:
        last_name, last_step = self._printed
        if name == "train":
            is_further = step - (last_step if name == last_name else 0) >= LINE_EVERY_SHARE * steps
        else:
            is_further = name != last_name
        return is_further and time.monotonic() - self._printed_at >= LINE_EVERY_S
