"""One round of an on-policy update: rollouts are sampled, scored and rewarded."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from learner.model import distributed
from learner.model.features import completion_features
from learner.model.resident import Resident, Weights
from learner.model.rollouts import SAMPLER_LIMIT, Rollout, sampler_logps
from learner.model.scoring import Ids, padded, row_logps, row_of
from learner.reward_model.functions import RewardFunction
from learner.reward_model.model import RewardModel
from learner.settings import RolloutSettings
from policy.chat import decode

REWARD_CLIP = 5.0  # largest size of the heads' mean, in units of reward
TRUNCATION_PENALTY = 1.0  # taken off the reward of a rollout that did not end, in units of reward


@dataclass(frozen=True)
class Batch:
    """One round's N rollouts, grouped by prompt. Per-token values are (N, T), right-padded, on the model's device."""

    rollouts: list[Rollout]
    groups: Tensor  # (N,) long: the number of the prompt
    mask: Tensor  # (N, T), 1 on completion tokens
    old: Tensor  # (N, T), nats, of the policy that sampled
    live: Tensor  # (N, T), nats, of the live version
    rewards: Tensor  # (N,)

    @property
    def num_tokens(self) -> int:
        """Tokens that were sampled."""
        return sum(len(rollout.ids) for rollout in self.rollouts)


def sampled_batch(
    resident: Resident,
    rewards: RewardModel,
    function: RewardFunction | None,
    prompts: Sequence[Ids],
    live_weights: Weights | None,
    rollout: RolloutSettings,
    *,
    pessimism: float,
    budget: int,
    seed: int,
    noise: float = SAMPLER_LIMIT,
) -> Batch:
    """Sample a group of rollouts for each prompt from the resident weights, and reward them.

    `live_weights` is None where the resident weights are the live ones. `function` is a reward of the user's own, added
    to the reward model's. `budget` is the most tokens of one forward pass, padding included. `noise` is how far
    recorded log-probabilities may be from torch's, in nats per token.
    """
    size = rollout.group_size
    repeated = [prompt for prompt in prompts for _ in range(size)]
    rollouts = distributed.the_first(resident.sample(repeated, max_tokens=rollout.max_tokens, seed=seed))
    with resident.autocast():
        rows = [
            row_of(prompt, *(one.ids for one in rollouts[index * size : (index + 1) * size]))
            for index, prompt in enumerate(prompts)
        ]
        old = sampler_logps(resident.model, rollouts, rows, budget, seed, noise)
        live = old
        if live_weights is not None:
            with resident.holding(live_weights):
                live = row_logps(resident.model, rows, budget)
    completions = [(one.prompt_ids, one.ids) for one in rollouts]
    features = completion_features(resident, completions, budget)
    scores = rewards.rewards(features, pessimism=pessimism, limit=REWARD_CLIP)
    if function is not None:
        texts = [(decode(resident.tokenizer, prompt), decode(resident.tokenizer, ids)) for prompt, ids in completions]
        scores = scores + torch.tensor([function(*text) for text in texts])
    scores = scores - TRUNCATION_PENALTY * torch.tensor([float(not one.is_finished) for one in rollouts])
    mask = padded([torch.ones(len(one.ids)) for one in rollouts])
    groups = torch.arange(len(prompts)).repeat_interleave(size)
    device = resident.device
    return Batch(
        rollouts, groups.to(device), mask.to(device), padded(old).to(device), padded(live).to(device), scores.to(device)
    )


def minibatches_of(batch: Batch, group_size: int, count: int, seed: int) -> list[list[int]]:
    """Return the round's `count` steps as indices of rollouts, in shuffled order; a prompt's rollouts stay together."""
    order = list(range(int(batch.groups.max()) + 1))
    random.Random(seed).shuffle(order)
    return [
        [group * group_size + index for group in order[number::count] for index in range(group_size)]
        for number in range(count)
    ]
