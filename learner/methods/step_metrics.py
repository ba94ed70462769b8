"""The record of an update's steps: each step's metrics, the tokens it took, and what all of them cost."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from learner.cost import Cost
from learner.model import distributed

Progress = Callable[[int, int, float, dict[str, float]], None]
"""Called after each step with its number, the number of steps, the loss and the metrics."""


@dataclass
class Trained:
    """What an update's steps came to. `stopped` names the guard that ended them early; it is "" if none did."""

    steps: int
    stopped: str
    metrics: dict[str, float]
    """The last value of each metric of the curve, the tokens and the cost."""
    curve: list[dict[str, float]] = field(default_factory=list)
    """The metrics of each step, with `step` (from 1) and `loss`."""


class Meter:
    """Keeps each step's metrics and passes them on to `progress`; measures the cost from the moment it is made."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self.steps, self._progress = steps, progress
        self._curve: list[dict[str, float]] = []
        self._tokens = 0
        self._cost = Cost()

    def step(self, loss: float, metrics: dict[str, float], tokens: int) -> None:
        """Record one more step."""
        self._tokens += tokens
        self._curve.append({"step": len(self._curve) + 1, "loss": loss, **metrics})
        self._progress(len(self._curve), self.steps, loss, metrics)

    def count(self, tokens: int) -> None:
        """Count tokens that were sampled or scored outside the steps."""
        self._tokens += tokens

    def trained(self, stopped: str) -> Trained:
        """Return the record of all steps."""
        last = {name: value for entry in self._curve for name, value in entry.items() if name != "step"}
        return Trained(
            len(self._curve), stopped, last | {"tokens": float(self._tokens)} | self._cost.so_far(), self._curve
        )


class RunningMean:
    """A mean over what was added since it was last taken."""

    def __init__(self) -> None:
        self._sum = self._count = 0.0

    def add(self, value: float, count: float) -> None:
        """Add the mean `value` of `count` things."""
        self._sum, self._count = self._sum + value * count, self._count + count

    def taken(self) -> float:
        """Return the mean, 0 of nothing, and begin anew."""
        mean = self._sum / self._count if self._count else 0.0
        self._sum = self._count = 0.0
        return mean


def step_summary(seen: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, float]:
    """Return a step's metrics from those of its passes on all ranks.

    Each value comes with the count that it is the mean of. Losses are shares and add up; others are means.
    """
    everywhere: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for theirs in distributed.gathered(dict(seen)):
        for name, values in theirs.items():
            everywhere[name] += values
    return {
        name: sum(value for value, _ in values)
        if name.startswith("loss/")
        else sum(value * count for value, count in values) / sum(count for _, count in values)
        for name, values in everywhere.items()
    }
