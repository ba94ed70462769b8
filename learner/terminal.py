"""What `attune train` prints on stderr: its progress, and a summary at the end. Light: no torch."""

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from learner.data.datasets import LeftOut
    from learner.update_result import UpdateResult
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


def summary_of(result: "UpdateResult", out: Path, count: int, seconds: float) -> list[str]:
    """Return a training's summary, line by line. `count` is of the file's examples, `out` the version's folder."""
    metrics, curve = result.metrics, result.trained.curve
    trained, held_out = (
        len({row for example in some for row in example.feedback_ids})
        for some in (result.plan.trained, result.plan.held_out)
    )
    unused = f", {count - trained - held_out} not used" if count > trained + held_out else ""
    stopped = (
        f"; went back to the last weights within the limits: {result.trained.stopped}" if result.trained.stopped else ""
    )
    reasons = result.report["reasons"]
    shown = [
        ("examples", f"{trained} trained on, {held_out} held out{unused}"),
        ("steps", f"{result.trained.steps} in {metrics['train_seconds']:.1f} s, {seconds:.1f} s in all{stopped}"),
        *_losses(curve),
        *_numbers(metrics, curve),
        *_held_out(result),
        ("verdict", f"the gate would not pass it: {'; '.join(reasons)}" if reasons else "the gate passes it"),
        ("report", f"{out / 'report.json'}, curves in {out / 'logs'}"),
        ("serve", _serve(out)),
    ]
    return [f"{name:<9} {text}" for name, text in shown]


def _losses(curve: Sequence[dict[str, float]]) -> list[tuple[str, str]]:
    """Return the first and the last loss; ilql has one of its heads and one of the policy."""
    heads = [step for step in curve if "ilql/q" in step]
    policy = [step for step in curve if "ilql/q" not in step]
    parts = [(name, steps) for name, steps in (("heads", heads), ("policy" if heads else "loss", policy)) if steps]
    if not heads:
        return [(name, _first_and_last(steps, "loss")) for name, steps in parts]
    return [(name, f"loss {_first_and_last(steps, 'loss')}, {len(steps)} steps") for name, steps in parts]


def _first_and_last(curve: Sequence[dict[str, float]], name: str) -> str:
    values = [step[name] for step in curve if name in step]
    return f"{values[0]:.3f} at first, {values[-1]:.3f} at last"


def _numbers(metrics: dict[str, Any], curve: Sequence[dict[str, float]]) -> list[tuple[str, str]]:
    """Return the numbers that this method has."""
    found = []
    if "pair/accuracy" in metrics:
        accuracy, margin = metrics["pair/accuracy"], metrics["pair/margin"]
        found.append(("pairs", f"accuracy {accuracy:.2f}, margin {margin:.1f} nats in the last step"))
    ways = {"good": "thumb/up_log_ratio", "bad": "thumb/down_log_ratio"}
    thumbs = [f"{way} answers {metrics[name]:+.1f}" for way, name in ways.items() if name in metrics]
    if thumbs:
        found.append(("thumbs", f"{', '.join(thumbs)} nats against the base model in the last step"))
    names = {"pairs": "reward/held_out_pair_accuracy", "thumbs (AUC)": "reward/held_out_thumb_auc"}
    measured = [f"{metrics[name]:.2f} of held-out {kind}" for kind, name in names.items() if name in metrics]
    if any("reward/mean" in step for step in curve):
        found.append(("reward", f"mean {_first_and_last(curve, 'reward/mean')}"))
    if measured:
        found.append(("accuracy", f"the reward model is right about {', '.join(measured)}"))
    return found


def _held_out(result: "UpdateResult") -> list[tuple[str, str]]:
    """Return how the weights that were kept fit the held-out feedback: where a guard stopped, the look before."""
    looks = [step for step in result.trained.curve if "held_out/accuracy" in step] or [result.metrics]
    seen = looks[-2] if result.trained.stopped and len(looks) > 1 else looks[-1]
    if "held_out/accuracy" not in seen:
        return []
    return [("held out", f"accuracy {seen['held_out/accuracy']:.2f}, loss {seen['held_out/loss']:.3f}")]


def _serve(out: Path) -> str:
    if (out / "config.json").exists():  # every weight was trained: it is a whole model
        return f"attune serve --model {shlex.quote(str(out))}"
    return f"attune export-model {shlex.quote(str(out))} --format hf --out merged && attune serve --model merged"
