"""The reward model's accuracy on the newest feedback before it has seen it: overall, and at equal length."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from learner.data.examples import Example
from store.tallies import wilson_interval

WINDOW = 256  # newest predictions of a kind that the accuracy is taken from
EQUAL_LENGTH = 0.1  # answers are of equal length within this share of the longer one's tokens, or one token


@dataclass(frozen=True)
class Accuracy:
    """A share of right predictions with its 95 % interval (Wilson); all None where there was none."""

    count: int = 0
    value: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, hits: str) -> "Accuracy":
        """Return the accuracy of predictions, one character each: "1" for a right one."""
        if not hits:
            return cls()
        value = hits.count("1") / len(hits)
        return cls(len(hits), value, *wilson_interval(value, len(hits)))


@dataclass(frozen=True)
class Predictions:
    """Outcomes of the newest predictions, oldest first, one character each: "1" right, "0" wrong.

    A pair is predicted by the heads' mean score. `equal` are pairs of equal length: they are predicted by the score
    without its length part, so that a model that knows nothing but length is right about half of them. A correction is
    not predicted: text that a person wrote differs from samples in more than its worth.
    """

    pairs: str = ""
    equal: str = ""
    thumbs: str = ""

    def added(self, pairs: Sequence[bool], equal: Sequence[bool], thumbs: Sequence[bool]) -> "Predictions":
        """Return the record with more outcomes; the oldest beyond the window go."""

        def together(known: str, more: Sequence[bool]) -> str:
            return (known + "".join("1" if hit else "0" for hit in more))[-WINDOW:]

        return replace(
            self,
            pairs=together(self.pairs, pairs),
            equal=together(self.equal, equal),
            thumbs=together(self.thumbs, thumbs),
        )

    @property
    def overall(self) -> Accuracy:
        """On pairs."""
        return Accuracy.of(self.pairs)

    @property
    def equal_length(self) -> Accuracy:
        """On pairs of equal length."""
        return Accuracy.of(self.equal)

    @property
    def of_thumbs(self) -> Accuracy:
        """On thumbs, with each rater's own threshold."""
        return Accuracy.of(self.thumbs)

    def metrics(self) -> dict[str, float]:
        """Return the accuracies as a run's metrics, without those that nothing was measured by."""
        found: dict[str, float] = {}
        kinds = {"accuracy": self.overall, "equal_length": self.equal_length, "thumbs": self.of_thumbs}
        for name, accuracy in kinds.items():
            if accuracy.value is not None and accuracy.low is not None and accuracy.high is not None:
                found |= {
                    f"reward/{name}": accuracy.value,
                    f"reward/{name}_low": accuracy.low,
                    f"reward/{name}_high": accuracy.high,
                    f"reward/{name}_count": float(accuracy.count),
                }
        return found

    def as_json(self) -> dict[str, Any]:
        """Return the three accuracies, as the learner's state shows them."""
        kinds = {"pairs": self.overall, "equal_length": self.equal_length, "thumbs": self.of_thumbs}
        return {
            name: {"count": one.count, "accuracy": one.value, "low": one.low, "high": one.high}
            for name, one in kinds.items()
        }


def is_choice(example: Example) -> bool:
    """Whether an example is a choice between two sampled answers, neither a tie nor a correction."""
    return example.kind == "pair" and not example.is_tie


def is_of_equal_length(example: Example) -> bool:
    """Whether the two answers of a pair have about the same number of tokens."""
    lengths = [len(completion.ids) for completion in example.completions]
    return max(lengths) - min(lengths) <= max(1.0, EQUAL_LENGTH * max(lengths))
