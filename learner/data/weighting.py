"""How much each example of an update counts, and how likely its label is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from learner.algorithms.example_weights import (
    KIND_WEIGHTS,
    SIDE_RATIO,
    FeedbackKind,
    capped_by_rater,
    capped_by_side,
    freshness,
    reliability,
    repetition,
)
from learner.data.examples import ASKED_AGAIN, Example
from learner.settings import LearnerSettings


@dataclass(frozen=True)
class Scales:
    """The factors of example weights: by kind, age, rater and direction."""

    kinds: Mapping[FeedbackKind, float] = field(default_factory=lambda: KIND_WEIGHTS)
    half_life: float = 8.0  # versions
    rater_cap: float = 0.1  # share of all weight
    side_ratio: float = SIDE_RATIO

    @classmethod
    def of(cls, settings: LearnerSettings) -> "Scales":
        """Return the scales of the settings."""
        kinds: dict[FeedbackKind, float] = {
            "correction": settings.corrections.weight,
            "pair": settings.pairs.weight,
            "thumb": settings.thumbs.weight,
            "implicit": KIND_WEIGHTS["implicit"],
        }
        return cls(kinds, rater_cap=settings.trust.rater_cap)

    def kind_weight(self, example: Example) -> float:
        """Return how much an example of this kind counts.

        The `share` of an implicit thumb already holds the usual weight.
        """
        return self.kinds["implicit"] / ASKED_AGAIN if example.is_implicit else self.kinds[example.kind]


USUAL = Scales()
FLIP_RATE = 0.05  # chance that a label is wrong, while nobody's trust was ever estimated


def flip_rate_of(trust: float | None, default: float) -> float:
    """Return the chance in [0, 0.45] that a rater's label is wrong.

    `trust` is the estimated chance that it is right; None takes `default`.
    """
    return min(max(1.0 - trust, 0.0), 0.45) if trust is not None else default


def with_example_weights(
    examples: Sequence[Example],
    *,
    parent: int,
    trust: Mapping[str, float],
    default_flip_rate: float,
    scales: Scales = USUAL,
) -> list[Example]:
    """Return the examples with `example_weight` and `flip_rate` filled in.

    The weight is the product of kind, share, reliability, freshness and repetition, within the caps by rater and
    direction. `parent` is the version that the update starts from. Completions of older versions count less: they are
    further from what the policy samples.
    """
    if not examples:
        return []
    flips = [flip_rate_of(trust.get(example.rater_id), default_flip_rate) for example in examples]
    repeats = _repeats(examples)
    ages = [freshness(_version_gap(example, parent), half_life=scales.half_life) for example in examples]
    weights = [
        scales.kind_weight(example) * example.share * reliability(flip) * age * repeated
        for example, flip, age, repeated in zip(examples, flips, ages, repeats, strict=True)
    ]
    weights = capped_by_rater(weights, [example.rater_id for example in examples], cap=scales.rater_cap)
    weights = _balanced_thumbs(examples, weights, scales.side_ratio)
    return [
        replace(example, example_weight=weight, flip_rate=flip)
        for example, weight, flip in zip(examples, weights, flips, strict=True)
    ]


def _repeats(examples: Sequence[Example]) -> list[float]:
    """Return each example's factor for repeated feedback. kto's two thumbs of a pair count as one."""
    keys = [(example.kind, example.rater_id, example.prompt_ids, example.feedback_ids) for example in examples]
    once = list(dict.fromkeys(keys))
    factors = dict(zip(once, repetition([key[:3] for key in once]), strict=True))
    return [factors[key] for key in keys]


def _version_gap(example: Example, parent: int) -> int:
    versions = [completion.version for completion in example.completions if completion.version is not None]
    return max(parent - min(versions), 0) if versions else 0


def _balanced_thumbs(examples: Sequence[Example], weights: Sequence[float], ratio: float) -> list[float]:
    """Return the weights with thumbs of one direction capped at `ratio` times those of the other."""
    # Implicit thumbs are no direction of their own: a single one would take nearly all weight from the thumbs up.
    at = [index for index, example in enumerate(examples) if example.kind == "thumb" and not example.is_implicit]
    balanced = capped_by_side([weights[index] for index in at], [examples[index].up for index in at], ratio=ratio)
    result = list(weights)
    for index, weight in zip(at, balanced, strict=True):
        result[index] = weight
    # Nor may many of them push all completions down: they fill the room that thumbs up leave beside thumbs down.
    ups = sum(result[index] for index in at if examples[index].up)
    room = max(ratio * ups - sum(result[index] for index in at if not examples[index].up), 0.0)
    implicit = [index for index, example in enumerate(examples) if example.kind == "thumb" and example.is_implicit]
    whole = sum(result[index] for index in implicit)
    if ups > 0.0 and whole > room:
        for index in implicit:
            result[index] *= room / whole
    return result
