"""Logged completions as episodes for Q-learning: a reward per token, and the hidden state that each token came from."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from learner.algorithms.ilql import FEEDBACK_REWARDS
from learner.algorithms.sft import change_of
from learner.data.examples import Example
from learner.model.resident import Resident
from learner.model.scoring import completion_hidden_states


@dataclass(frozen=True)
class LoggedCompletion:
    """One completion with its reward per token (a thumb up is 1)."""

    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    rewards: tuple[float, ...]  # one per token
    example_weight: float
    states: Tensor  # (T, d), on the CPU


def logged_completions(resident: Resident, examples: Sequence[Example], budget: int) -> list[LoggedCompletion]:
    """Return every completion of the examples, with the reward of its feedback on its last token.

    Of a corrected completion the last token that the correction changed has the reward. `budget` is the most tokens of
    one forward pass, padding included.
    """
    rewarded: list[tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...], float]] = []
    for example in examples:
        for ids, name, index in _rewarded_sides(example):
            rewards = [0.0] * len(ids)
            rewards[index] = FEEDBACK_REWARDS[name] * example.share
            rewarded.append((example.prompt_ids, ids, tuple(rewards), example.example_weight))
    states = completion_states(resident, [(prompt, ids) for prompt, ids, _, _ in rewarded], budget)
    return [LoggedCompletion(*fields, state) for fields, state in zip(rewarded, states, strict=True)]


def _rewarded_sides(example: Example) -> list[tuple[tuple[int, ...], str, int]]:
    """Return each side's completion ids, the name of its reward, and the index of the rewarded token."""
    if example.good is not None and example.bad is not None:
        if example.kind == "correction":
            last = change_of(example.bad.ids, example.good.ids).last_changed
            return [(example.good.ids, "corrected", last), (example.bad.ids, "original", -1)]
        return [(example.good.ids, "pair_chosen", -1), (example.bad.ids, "pair_rejected", -1)]
    return [(example.completions[0].ids, "thumb_up" if example.up else "thumb_down", -1)]


def completion_states(
    resident: Resident, completions: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], budget: int
) -> list[Tensor]:
    """Return each (prompt, completion)'s hidden states (T, d) that its tokens come from, float32 on the CPU."""
    with resident.autocast():
        return completion_hidden_states(resident.model, completions, budget, device="cpu")
