"""ILQL: Q-learning over tokens on logged feedback, served by shifting the logits of a frozen policy.

Snell et al. 2206.11871. The state is the tokens so far, the action is the next token, s' = s + a and r = R(s, a).
Tabular Q-learning moves Q(s, a) <- Q + alpha [r + gamma max_a' Q(s', a') - Q]. Over a vocabulary the max would pick
tokens that nobody chose. V(s') replaces it: an expectile of Q over the logged tokens, which rises to their max as tau
goes to 1.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learner.algorithms.precision import plain_floats, working

State = tuple[int, ...]
FEEDBACK_REWARDS = {
    "thumb_up": 1.0,
    "thumb_down": -1.0,
    "pair_chosen": 0.5,
    "pair_rejected": -0.5,
    "corrected": 0.5,
    "original": -0.5,
}
"""Rewards by feedback on a completion. They are fixed: a scale taken from the data would turn an all-up batch to 0."""


class TabularQ:
    """The textbook limit: one number per (state, action), learned by the paper's update."""

    def __init__(self, num_actions: int) -> None:
        self.num_actions = num_actions
        self._rows: dict[State, list[float]] = {}

    def values(self, state: State) -> list[float]:
        """Return Q(state, a) for every action; 0 where nothing was learned."""
        return list(self._rows.get(state, [0.0] * self.num_actions))

    def learn(
        self, state: State, action: int, reward: float, *, alpha: float, gamma: float = 1.0, is_last: bool = False
    ) -> float:
        """Apply Q(s, a) <- Q + alpha [r + gamma max Q(s + a, .) - Q] and return the new Q(s, a).

        Nothing follows a last action.
        """
        row = self._rows.setdefault(state, [0.0] * self.num_actions)
        following = 0.0 if is_last else max(self.values((*state, action)))
        row[action] += alpha * (reward + gamma * following - row[action])
        return row[action]


class QHeads(nn.Module):
    """Two Q heads with Polyak targets, and V, on the hidden state (M, d) that an action is chosen from.

    Q(s, .) = E (W h + h0) with the frozen output embeddings E (V, d). A head has d^2 weights rather than d times the
    vocabulary, and its target copies those alone. The two heads start apart; with equal starts their minimum has no
    use.
    """

    embeddings: Tensor

    def __init__(self, embeddings: Tensor, *, initial_scale: float = 0.01, seed: int = 0) -> None:
        super().__init__()
        size = embeddings.size(1)
        self.register_buffer("embeddings", embeddings.detach(), persistent=False)
        generator = torch.Generator().manual_seed(seed)
        self.online = nn.ModuleList(_head(size, initial_scale, generator) for _ in range(2))
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.state_value = nn.Linear(size, 1)
        nn.init.zeros_(self.state_value.weight)
        nn.init.zeros_(self.state_value.bias)

    def q(self, hidden: Tensor) -> list[Tensor]:
        """Return both heads' Q of every token, each (M, V)."""
        return [head(hidden) @ self.embeddings.T.to(hidden.dtype) for head in self.online]

    def q_target(self, hidden: Tensor) -> list[Tensor]:
        """Return both targets' Q of every token, each (M, V), without gradient."""
        with torch.no_grad():
            return [head(hidden) @ self.embeddings.T.to(hidden.dtype) for head in self.target]

    def v(self, hidden: Tensor) -> Tensor:
        """Return V(s), (M,)."""
        return self.state_value(hidden).squeeze(-1)

    @torch.no_grad()
    def follow(self, alpha: float) -> None:
        """Move the targets by `alpha` towards the heads (Polyak); `alpha` is the weight of the new."""
        for online, target in zip(self.online, self.target, strict=True):
            for theirs, ours in zip(target.parameters(), online.parameters(), strict=True):
                theirs.lerp_(ours.to(theirs), alpha)


def _head(size: int, initial_scale: float, generator: torch.Generator) -> nn.Module:
    """Return a linear map of hidden states (M, d) to (M, d).

    Its weights have a deviation of `initial_scale` / sqrt(d), its bias is 0.
    """
    head = nn.Linear(size, size)
    nn.init.normal_(head.weight, std=initial_scale / size**0.5, generator=generator)
    nn.init.zeros_(head.bias)
    return head


def expectile_loss(error: Tensor, tau: float) -> Tensor:
    """Return `|tau - 1[error < 0]| error^2`, any shape.

    Its minimizer is the mean at tau = 0.5 and the maximum as tau goes to 1.
    """
    return torch.where(error < 0, 1.0 - tau, tau) * error**2


def ilql_loss(
    q: Sequence[Tensor],
    q_target: Sequence[Tensor],
    v: Tensor,
    actions: Tensor,
    rewards: Tensor,
    mask: Tensor,
    *,
    gamma: float,
    tau: float,
    cql: float,
    prior: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Return the ILQL loss per token, (N, T), 0 outside the mask, and plain-float means of its parts.

    `q` and `q_target` hold (N, T, V) values of the states before each token, and `v` (N, T) theirs. `actions` (N, T)
    long are the logged tokens and `rewards` (N, T) theirs. `mask` (N, T) is 1 on each completion's tokens, one run of
    ones. With y = r + gamma V(s'), V being 0 after the last token, the loss is
    sum_i (Q_i(s, a) - y)^2 + expectile_tau(min_i Qbar_i(s, a) - V(s)) + cql sum_i -log softmax(Q_i)(a).

    `prior` (N, T, V) are log-probabilities of the policy that sampled the actions. With it the conservative term is
    -log softmax(prior + Q_i)(a), the CQL(rho) of Kumar et al. 2020 (2006.04779, section 3.2) with rho the policy. On
    the policy's own completions its expected gradient is 0 as long as Q is level. Without a prior the term clones all
    logged tokens, bad and good.
    """
    counted, value, index = working(mask), working(v), actions.unsqueeze(-1)

    def of_actions(table: Tensor) -> Tensor:
        return working(table).gather(-1, index).squeeze(-1)

    nothing = torch.zeros_like(value[:, :1])
    following = torch.cat([value[:, 1:], nothing], 1) * torch.cat([counted[:, 1:], nothing], 1)
    target = working(rewards) + gamma * following.detach()
    advantage = torch.stack([of_actions(table) for table in q_target]).amin(0).detach() - value
    parts = {
        "q": torch.stack([(of_actions(table) - target) ** 2 for table in q]).sum(0),
        "v": expectile_loss(advantage, tau),
        "cql": torch.stack(
            [_cross_entropy(table if prior is None else working(table) + working(prior), actions) for table in q]
        ).sum(0),
    }
    loss = parts["q"] + parts["v"] + cql * parts["cql"]
    total = counted.sum().clamp(min=1.0)
    return loss * counted, plain_floats(
        {f"ilql/{name}": (part.detach() * counted).sum() / total for name, part in parts.items()}
    )


def _cross_entropy(table: Tensor, actions: Tensor) -> Tensor:
    return F.cross_entropy(working(table).flatten(0, -2), actions.flatten(), reduction="none").view(actions.shape)


def shifted_logps(logits: Tensor, q: Tensor, v: Tensor, *, beta: float) -> Tensor:
    """Return the log-probabilities of the shifted policy, (M, V): `log softmax(log pi + beta (Q - V))`.

    `logits` of pi and `q` (the minimum of both heads) are (M, V), `v` is (M,). At `beta` 0 it is pi itself.
    """
    scores = torch.log_softmax(working(logits), -1) + beta * (working(q) - working(v).unsqueeze(-1))
    return torch.log_softmax(scores, -1)
