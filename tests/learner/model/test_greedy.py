"""Greedy answers: what the weights still give is recognised in one pass, and only what changed is decoded."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from learner.model.greedy import greedy_answers, kept_lengths
from learner.model.resident import Resident
from learner.model.rollouts import Rollout
from learner.settings import LearnerSettings
from policy.runners.base import SamplingSettings

Build = Callable[..., LearnerSettings]
PROMPTS = [(1, 4, *range(60 + 7 * number, 70 + 7 * number), 5) for number in range(12)]


@pytest.fixture
def resident(make_settings: Build) -> Resident:
    one = Resident(make_settings())
    one.become(None, 3)
    return one


def nudge(resident: Resident, size: float) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, parameter in resident.trainable():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def counted(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which each sampled rollout adds its tokens."""
    seen: list[int] = []
    sample = resident.sampler.sample

    def noted(prompts: Sequence[Any], settings: Sequence[SamplingSettings]) -> list[Rollout]:
        rollouts = sample(prompts, settings)
        seen.extend(len(rollout.ids) for rollout in rollouts)
        return rollouts

    monkeypatch.setattr(resident.sampler, "sample", noted)
    return seen


def test_answers_that_did_not_change_are_not_decoded(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    first, decoded = greedy_answers(resident, PROMPTS, (), 16)
    assert decoded == len(PROMPTS)
    assert first == [one.ids for one in resident.sample(PROMPTS, max_tokens=16, seed=0, temperature=0.0)]
    seen = counted(resident, monkeypatch)
    assert greedy_answers(resident, PROMPTS, first, 16) == (first, 0)
    assert seen == []


@pytest.mark.parametrize("size", [0.004, 0.02])
def test_changed_answers_are_what_decoding_all_of_them_gives(
    resident: Resident, monkeypatch: pytest.MonkeyPatch, size: float
) -> None:
    before, _ = greedy_answers(resident, PROMPTS, (), 16)
    nudge(resident, size)
    whole, _ = greedy_answers(resident, PROMPTS, (), 16)
    seen = counted(resident, monkeypatch)
    after, decoded = greedy_answers(resident, PROMPTS, before, 16)
    assert after == whole
    assert decoded == sum(one != other for one, other in zip(before, whole, strict=True)) == len(seen)
    assert sum(seen) < sum(map(len, whole))  # and those only from the first other token on


def test_kept_lengths_count_the_first_tokens_that_are_the_likeliest(resident: Resident) -> None:
    answers, _ = greedy_answers(resident, PROMPTS[:3], (), 16)
    spoiled = [*answers[0][:5], (answers[0][5] + 1) % 300, *answers[0][6:]]
    pairs = [(PROMPTS[0], spoiled), (PROMPTS[1], answers[1]), (PROMPTS[2], ())]
    assert kept_lengths(resident, pairs) == [5, len(answers[1]), 0]
