"""Labeled examples for a reward model: people who prefer the longer completion."""

from dataclasses import replace

from learner.data.examples import CompletionTokens, Example
from learner.model.resident import Resident
from learner.reward_model.model import RewardModel
from learner.reward_model.training import trained_reward_model
from learner.settings import RewardModelSettings


def long_over_short(count: int, first: int = 0) -> list[Example]:
    made = []
    for n in range(first, first + count):
        short, long = (
            CompletionTokens((50 + n % 40, 2)),
            CompletionTokens((60 + n % 30, 61, 62 + n % 7, 63, 64 + n % 5, 2)),
        )
        made.append(Example("pair", (1, 4, 10 + n, 2, 5), long, short, "ann", (f"p{n}",), n))
    return made


def thumbs_for_long(count: int, first: int = 0) -> list[Example]:
    return [
        replace(pair, kind="thumb", good=pair.good if n % 2 else None, bad=None if n % 2 else pair.bad)
        for n, pair in enumerate(long_over_short(count, first))
    ]


def trained(resident: Resident, examples: list[Example], *, seed: int = 0) -> RewardModel:
    """Return a reward model of these examples."""
    return trained_reward_model(resident, examples, RewardModelSettings(), seed=seed, token_budget=4096)[0]
