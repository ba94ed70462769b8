"""PPO: rewards per token, advantages (GAE), the value head and its clipped loss, and the KL controller.

The policy's loss is `surrogate.surrogate_loss`.
"""

import torch
from torch import Tensor, nn

from learner.algorithms.kl import kl_estimate
from learner.algorithms.precision import plain_floats, working


class ValueHead(nn.Module):
    """Value of each state from the hidden state that the next token is predicted from; 0 everywhere at the start.

    It has two layers, the last one zero. A random start would be a random baseline, and the policy would follow it.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.inner = nn.Linear(hidden_size, hidden_size)
        self.outer = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return values (...,) of hidden states (..., d), in units of reward."""
        return self.outer(torch.tanh(self.inner(hidden.to(self.inner.weight.dtype)))).squeeze(-1)


def token_rewards(scores: Tensor, logps: Tensor, reference_logps: Tensor, mask: Tensor, *, kl_weight: float) -> Tensor:
    """Return rewards per token, (N, T), no gradient: a KL penalty each, and the score on the last token.

    The penalty is `-kl_weight (logp - reference)`. `scores` (N,) are the reward model's and `logps` those of the
    sampling policy. `mask` (N, T) has each completion's tokens as one run of ones. An empty completion gets 0.
    """
    counted = working(mask)
    rewards = -kl_weight * kl_estimate(logps.detach(), reference_logps, "k1") * counted
    return rewards + _is_last(counted) * working(scores.detach()).unsqueeze(1)


def _is_last(mask: Tensor) -> Tensor:
    """Return 1 on the last token of each row's run of ones."""
    following = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
    return mask * (1.0 - following)


def advantages_and_returns(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float = 1.0, lam: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimation (Schulman et al. 1506.02438, eq. 16): advantages and value targets.

    Both are (N, T) without gradient, and 0 outside the mask. `values` (N, T) are those of the states before each token;
    values outside the mask have no influence. After a completion's last token the value is 0. `lam` = 0 is one-step TD,
    1 is Monte Carlo. Targets are advantage plus value, before any whitening.
    """
    reward, value, counted = working(rewards.detach()), working(values.detach()), working(mask)
    advantages = torch.zeros_like(reward)
    following_value = torch.zeros_like(reward[:, 0])
    following = torch.zeros_like(reward[:, 0])
    for t in reversed(range(reward.size(1))):
        delta = reward[:, t] + gamma * following_value - value[:, t]
        following = (delta + gamma * lam * following) * counted[:, t]
        following_value = value[:, t] * counted[:, t]
        advantages[:, t] = following
    return advantages, advantages + value * counted


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, *, clip: float
) -> tuple[Tensor, dict[str, float]]:
    """Clipped value loss per token, (N, T), 0 outside the mask: `max((V - R)^2, (V_clipped - R)^2) / 2`.

    V_clipped is V within `clip` of its old value. All are (N, T), in units of reward. Metrics: the mean loss, and the
    share of the returns' variance that the old values explain (0 if there is none).
    """
    counted = working(mask)
    value, old, target = working(values), working(old_values.detach()), working(returns.detach())
    near = old + (value - old).clamp(-clip, clip)
    loss = 0.5 * torch.maximum((value - target) ** 2, (near - target) ** 2) * counted
    total = counted.sum().clamp(min=1.0)
    spread = ((target - (target * counted).sum() / total) ** 2 * counted).sum() / total
    unexplained = ((target - old) ** 2 * counted).sum() / total
    seen = plain_floats({"value/loss": loss.sum() / total, "unexplained": unexplained, "spread": spread})
    explained = 1.0 - seen["unexplained"] / seen["spread"] if seen["spread"] > 0 else 0.0
    return loss, {"value/loss": seen["value/loss"], "value/explained": explained}


def adapted_kl_weight(kl_weight: float, kl: float, *, target: float, num_sequences: int, horizon: float) -> float:
    """Return the KL penalty's next weight (Ziegler et al. 1909.08593, section 2.2).

    It rises where `kl` exceeds `target` and falls otherwise; both are in nats per sequence. It changes by at most 20 %
    per `horizon` sequences. Raises ValueError unless `target` > 0.
    """
    if not target > 0:
        raise ValueError(f"the KL target is {target}; it must be above 0 nats")
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return kl_weight * (1.0 + error * num_sequences / horizon)
