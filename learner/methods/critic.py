"""PPO's critic: a value head on the policy's hidden states."""

import math

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from learner.algorithms.ppo import ValueHead, advantages_and_returns, value_loss
from learner.methods.rounds import Batch
from learner.model.resident import Resident
from learner.model.scoring import completion_hidden_states

GAMMA, GAE_LAMBDA = 1.0, 0.95  # per token
VALUE_CLIP = math.inf  # how far a value may move from its old value, in units of reward
LEARNING_RATE = 1e-3  # of Adam on the value head
WARMUP_STEPS = 20  # of the value head alone, before the policy moves


class Critic:
    """A value head on detached hidden states of the policy that sampled: its loss cannot pull on the policy."""

    def __init__(self, resident: Resident, *, steps: int, budget: int, seed: int) -> None:
        """Draw the head from `seed`. It takes `steps` steps per round; `budget` is the most tokens of one pass."""
        self._resident, self._steps, self._budget = resident, steps, budget
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = ValueHead(resident.base.config.get_text_config().hidden_size).to(resident.device)
        self._adam = torch.optim.Adam(self.head.parameters(), lr=LEARNING_RATE, eps=1e-5)
        self._is_warm = False

    def learn(self, batch: Batch, rewards: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return advantages (N, T) of a round with per-token `rewards` (N, T), then fit the head to its returns.

        In the first round the head is fitted to what followed each state before that: else the policy's first steps
        would have no baseline.
        """
        states = self.states(batch)
        if not self._is_warm:
            nothing = torch.zeros_like(rewards)
            _, followed = advantages_and_returns(rewards, nothing, batch.mask, gamma=GAMMA, lam=1.0)
            self._fit(states, nothing, followed, batch.mask, WARMUP_STEPS, clip=math.inf)
            self._is_warm = True
        with torch.no_grad():
            old = self.head(states) * batch.mask
        advantages, returns = advantages_and_returns(rewards, old, batch.mask, gamma=GAMMA, lam=GAE_LAMBDA)
        return advantages, self._fit(states, old, returns, batch.mask, self._steps, clip=VALUE_CLIP)

    def states(self, batch: Batch) -> Tensor:
        """Return (N, T, d): the hidden state that each completion token was predicted from."""
        completions = [(rollout.prompt_ids, rollout.ids) for rollout in batch.rollouts]
        with self._resident.autocast():
            found = completion_hidden_states(self._resident.model, completions, self._budget)
        return pad_sequence(found, batch_first=True)

    def _fit(
        self, states: Tensor, old: Tensor, returns: Tensor, mask: Tensor, steps: int, *, clip: float
    ) -> dict[str, float]:
        """Take some steps towards the returns (N, T); return the metrics of the first."""
        metrics: dict[str, float] = {}
        for _ in range(steps):
            values, seen = value_loss(self.head(states) * mask, old, returns, mask, clip=clip)
            metrics = metrics or seen
            self._adam.zero_grad()
            (values.sum() / mask.sum()).backward()
            self._adam.step()
        return metrics
