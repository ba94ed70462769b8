"""The plan of an update, fixed before it begins: its examples and its batches. The same run has the same plan."""

import itertools
import random
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from learner.data.algorithm_examples import for_algorithm
from learner.data.examples import Example
from learner.data.replay import replay_of
from learner.data.weighting import FLIP_RATE, Scales, with_example_weights
from learner.errors import NothingToLearn
from learner.settings import LearnerSettings

REPLAY_TURN = 4  # passes over the new examples in which each replayed one has one turn: it was trained on before
MIN_TO_HOLD_OUT = 8  # with fewer new examples all are trained on
# Raters who are wrong as often are trained on, at a hundredth of a weight, but nothing of theirs is held out.
MAX_HELD_OUT_FLIP_RATE = 0.45


@dataclass(frozen=True)
class Plan:
    """One update. `batches` hold indices into `trained`. Later updates train on `held_out`."""

    trained: tuple[Example, ...]
    held_out: tuple[Example, ...]
    batches: tuple[tuple[int, ...], ...]
    seed: int


def plan_of(
    new: Sequence[Example],
    earlier: Sequence[Example],
    settings: LearnerSettings,
    *,
    seed: int,
    parent: int,
    trust: Mapping[str, float],
) -> Plan:
    """Return the plan of an update on `new` examples with replay of `earlier` ones. Raises NothingToLearn."""
    kept, held_out = without_holdout(new, settings.gate.holdout, seed)
    kept, held_out = for_algorithm(kept, settings.algorithm), for_algorithm(held_out, settings.algorithm)
    kept = kept[-settings.max_examples :]
    if not kept:
        raise NothingToLearn(f"the algorithm {settings.algorithm!r} can learn from none of the {len(new)} new examples")
    again = replay_of(for_algorithm(earlier, settings.algorithm), round(settings.replay * len(kept)), seed)
    scales = Scales.of(settings)
    weighted = with_example_weights(
        [*kept, *again], parent=parent, trust=trust, default_flip_rate=FLIP_RATE, scales=scales
    )
    every = [1] * len(kept) + [REPLAY_TURN] * len(again)
    counted = [(example, turn) for example, turn in zip(weighted, every, strict=True) if example.example_weight > 0]
    trained, turns = [example for example, _ in counted], [turn for _, turn in counted]
    if not trained:
        raise NothingToLearn(f"all {len(kept)} new examples are of raters or of a kind that counts for nothing")
    held_out = with_example_weights(held_out, parent=parent, trust=trust, default_flip_rate=FLIP_RATE, scales=scales)
    held_out = [
        example for example in held_out if example.example_weight > 0 and example.flip_rate < MAX_HELD_OUT_FLIP_RATE
    ]
    together = [(example.prompt_ids, example.feedback_ids) for example in trained]  # kto's two thumbs of a pair
    batches = batches_of(len(trained), settings.batch_size, settings.steps, settings.passes, seed, together, turns)
    return Plan(tuple(trained), tuple(held_out), batches, seed)


def without_holdout(new: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Split new examples into those to train on and those to hold out, by whole prompts of a rater.

    `seed` and the examples' content draw which. With few examples none is held out. Implicit examples are never held
    out. Those on a held-out prompt are left out altogether.
    """
    explicit = [example for example in new if not example.is_implicit]
    if share <= 0 or len(explicit) < MIN_TO_HOLD_OUT:
        return list(new), []
    drawn: dict[tuple[str, tuple[int, ...]], str] = {}
    sizes: dict[tuple[str, tuple[int, ...]], int] = {}
    for example in explicit:
        group = (example.rater_id, example.prompt_ids)
        drawn[group] = sha256(f"{seed} {group}".encode()).hexdigest()
        sizes[group] = sizes.get(group, 0) + 1
    wanted, taken = share * len(explicit), 0
    out: set[tuple[str, tuple[int, ...]]] = set()
    for group in sorted(drawn, key=lambda group: drawn[group]):
        if taken + sizes[group] / 2 <= wanted:
            out.add(group)
            taken += sizes[group]
    is_out = [(example.rater_id, example.prompt_ids) in out for example in new]
    kept = [example for example, away in zip(new, is_out, strict=True) if not away]
    return kept, [example for example, away in zip(new, is_out, strict=True) if away and not example.is_implicit]


def batches_of(
    count: int,
    size: int,
    steps: int,
    passes: float,
    seed: int,
    together: Sequence[Hashable] | None = None,
    turns: Sequence[int] | None = None,
) -> tuple[tuple[int, ...], ...]:
    """Return at most `steps` batches of `size` indices out of `count`, in shuffled passes one after the other.

    With fewer than `size` a batch is one whole pass. Indices with the same key in `together` (one for each index)
    follow one another. `turns` has for each index after how many passes it has its turn again; None has all in each.
    """
    units: dict[Hashable, list[int]] = {}
    for index, key in enumerate(together if together is not None else range(count)):
        units.setdefault(key, []).append(index)
    every = {key: min(turns[index] for index in unit) if turns else 1 for key, unit in units.items()}
    size = min(size, count)
    per_pass = sum(len(unit) / every[key] for key, unit in units.items())
    steps = max(1, min(steps, round(passes * per_pass / size)))
    rng = random.Random(seed)
    stream: list[int] = []
    for number in itertools.count():
        if len(stream) >= steps * size:
            break
        order = [unit for rank, (key, unit) in enumerate(units.items()) if (number + rank) % every[key] == 0]
        rng.shuffle(order)
        stream += [index for unit in order for index in unit]
    return tuple(tuple(stream[start * size : (start + 1) * size]) for start in range(steps))


def seed_of(base_seed: int, number_of_runs: int, parent: int, upto_seq: int) -> int:
    """Return the seed of a run, below 2^31: another one for each run, and the same for the same history."""
    digest = sha256(f"{base_seed} {number_of_runs} {parent} {upto_seq}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1


def halved(settings: LearnerSettings) -> LearnerSettings:
    """Return the settings of a second try: half the steps, and half the rounds of methods that sample."""
    rollout = settings.rollout.model_copy(update={"rounds": max(1, settings.rollout.rounds // 2)})
    fewer = {"steps": max(1, settings.steps // 2), "passes": settings.passes / 2, "rollout": rollout}
    return settings.model_copy(update=fewer)
