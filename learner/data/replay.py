"""Which earlier examples an update repeats: a deterministic sample, spread over raters, kinds and prompts."""

import random
from collections import defaultdict
from collections.abc import Sequence

from learner.data.examples import Example, interleaved


def replay_of(earlier: Sequence[Example], count: int, seed: int) -> list[Example]:
    """Return at most `count` of the earlier examples, the same for the same examples in any order and seed.

    Strata (rater, kind, direction) take turns, and so do the prompts of a stratum. Neither an active rater nor a
    popular prompt crowds out the others.
    """
    rng = random.Random(seed)
    strata: dict[tuple[str, str, bool], dict[tuple[int, ...], list[Example]]] = defaultdict(lambda: defaultdict(list))
    for example in sorted(earlier, key=lambda example: (example.seq, example.key)):
        strata[(example.rater_id, example.kind, example.up)][example.prompt_ids].append(example)
    by_stratum = []
    for _, by_prompt in sorted(strata.items()):
        prompts = [by_prompt[prompt] for prompt in sorted(by_prompt)]
        for group in prompts:
            rng.shuffle(group)
        rng.shuffle(prompts)
        by_stratum.append(interleaved(prompts))
    rng.shuffle(by_stratum)
    return interleaved(by_stratum)[:count]
