"""Q and V heads on a frozen policy's hidden states: their training on logged completions, and the shifted policy."""

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from learner.algorithms.anchor import TopLogps, top_logps
from learner.algorithms.ilql import QHeads, ilql_loss, shifted_logps
from learner.errors import CannotLearn, Diverged
from learner.methods.logged_completions import LoggedCompletion, completion_states
from learner.methods.step_metrics import Meter
from learner.model.anchors import TOP, Anchor
from learner.model.resident import Resident
from learner.model.scoring import completion_logits, length_buckets, padded
from learner.settings import IlqlSettings
from policy.logprobs import LogitsOf

LEARNING_RATE = 1e-3  # of Adam on the heads
GAMMA = 1.0  # discount per token
CQL_WEIGHT = 0.1  # of the term that keeps unseen tokens from looking good
POLYAK = 0.05  # share of the way to the heads that the target heads go with each step
# In one table (tokens, vocabulary): 256 MiB of float32. A pass (two heads, two targets, a policy) holds about eight.
MOST_LOGITS = 2**26


class PolicyHead:
    """The frozen policy's logits (..., V), float32, as a function of hidden states (..., d)."""

    def __init__(self, resident: Resident) -> None:
        self._resident, self._logits = resident, LogitsOf(resident.model)
        weight = resident.model.get_output_embeddings().weight
        self.vocabulary, self._dtype = len(weight), weight.dtype

    @torch.no_grad()
    def __call__(self, states: Tensor) -> Tensor:
        """Return the logits, without gradient."""
        with self._resident.autocast():
            return self._logits(states.to(self._dtype)).float()


@torch.no_grad()
def policy_head(resident: Resident, known: LoggedCompletion, budget: int) -> PolicyHead:
    """Return the policy's head, checked on one completion.

    Raises CannotLearn where the model computes other logits from its hidden states.
    """
    head = PolicyHead(resident)
    most = _most_tokens(head.vocabulary, budget)
    with resident.autocast():
        expected = completion_logits(resident.model, [(known.prompt_ids, known.ids[:most])]).float()
        is_half = torch.is_autocast_enabled(resident.device.type) or resident.model.dtype in (
            torch.bfloat16,
            torch.float16,
        )
    difference = (head(known.states[:most].to(resident.device)) - expected).abs().max()
    tolerance = 0.1 if is_half else 1e-2
    if not difference <= tolerance * (1.0 + expected.abs().max()):
        name = type(resident.base).__name__
        reason = f"ilql needs logits that follow from hidden states, and {name} computes its logits in another way"
        raise CannotLearn(f"{reason}; use another algorithm")
    return head


def trained_heads(
    resident: Resident,
    logged: Sequence[LoggedCompletion],
    head: PolicyHead,
    ilql: IlqlSettings,
    *,
    batch_size: int,
    budget: int,
    seed: int,
    meter: Meter,
) -> QHeads:
    """Return heads trained for `ilql.steps` steps of `batch_size` completions. Raises Diverged."""
    embeddings = resident.model.get_output_embeddings().weight.detach().float()
    heads = QHeads(embeddings, seed=seed).to(resident.device)
    adam = torch.optim.Adam(
        [parameter for parameter in heads.parameters() if parameter.requires_grad], lr=LEARNING_RATE
    )
    rng = random.Random(seed)
    mean_weight = sum(one.example_weight for one in logged) / len(logged)
    for step in range(ilql.steps):
        batch = [logged[index] for index in rng.sample(range(len(logged)), min(batch_size, len(logged)))]
        adam.zero_grad()
        loss, metrics = head_backward(heads, batch, mean_weight, head, tau=ilql.tau, budget=budget)
        if not math.isfinite(loss):
            raise Diverged(f"step {step + 1} of the Q heads gave a loss of {loss}; live stays as it was")
        adam.step()
        heads.follow(POLYAK)
        meter.step(loss, metrics, sum(len(one.ids) for one in batch))
    return heads


def head_backward(
    heads: QHeads,
    batch: Sequence[LoggedCompletion],
    mean_weight: float,
    head: PolicyHead,
    *,
    tau: float,
    budget: int,
) -> tuple[float, dict[str, float]]:
    """Add the gradients of one step's loss to the heads; return the loss and its metrics, means over all tokens.

    The step takes as many passes as `budget` and `MOST_LOGITS` make of it; completions that are longer are cut.
    """
    most, num_tokens, loss_sum = _most_tokens(len(heads.embeddings), budget), sum(len(one.ids) for one in batch), 0.0
    segments = [segment for one in batch for segment in _segments(heads, one, most)]
    seen: dict[str, float] = defaultdict(float)
    for group in length_buckets([len(segment.ids) for segment in segments], most):
        some = [segments[index] for index in group]
        values, metrics = _head_losses(heads, some, head, tau)
        weights = torch.tensor([segment.example_weight for segment in some], device=values.device) / mean_weight
        loss = (values * weights.unsqueeze(1)).sum() / num_tokens
        loss.backward()
        loss_sum += loss.item()
        for name, value in metrics.items():
            seen[name] += value * sum(len(segment.ids) for segment in some) / num_tokens
    return loss_sum, dict(seen)


def _most_tokens(vocabulary: int, budget: int) -> int:
    """Return the most tokens, padding included, of one pass over the whole vocabulary."""
    return max(1, min(budget, MOST_LOGITS // vocabulary))


@torch.no_grad()
def _segments(heads: QHeads, logged: LoggedCompletion, most: int) -> list[LoggedCompletion]:
    """Return a completion in segments of at most `most` tokens, each an episode of its own.

    A segment's last reward includes what V expects of the next segment.
    """
    found = []
    for start in range(0, len(logged.ids), most):
        end = start + most
        rewards = logged.rewards[start:end]
        if end < len(logged.ids):
            to_come = heads.v(logged.states[end].to(heads.embeddings.device)).item()
            rewards = (*rewards[:-1], rewards[-1] + GAMMA * to_come)
        found.append(replace(logged, ids=logged.ids[start:end], rewards=rewards, states=logged.states[start:end]))
    return found


def _head_losses(
    heads: QHeads, some: Sequence[LoggedCompletion], head: PolicyHead, tau: float
) -> tuple[Tensor, dict[str, float]]:
    """Return the heads' loss per token of some completions, (N, T), with gradient, and its metrics."""
    device = heads.embeddings.device
    states = padded([one.states for one in some]).to(device)
    actions = padded([torch.tensor(one.ids) for one in some]).to(device)
    rewards = padded([torch.tensor(one.rewards) for one in some]).to(device)
    mask = padded([torch.ones(len(one.ids)) for one in some]).to(device)
    prior = torch.log_softmax(head(states), -1)  # the policy's own: it sampled most of these tokens
    return ilql_loss(
        heads.q(states),
        heads.q_target(states),
        heads.v(states),
        actions,
        rewards,
        mask,
        prior=prior,
        gamma=GAMMA,
        tau=tau,
        cql=CQL_WEIGHT,
    )


@torch.no_grad()
def shifted_distributions(
    resident: Resident,
    heads: QHeads,
    head: PolicyHead,
    completions: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
    *,
    beta: float,
    budget: int,
) -> list[Anchor]:
    """Return each (prompt, completion) with the shifted policy's distribution at each of its tokens.

    The shift is `beta` times the advantage, in nats (Snell et al. 2206.11871, section 4).
    """
    goals, most = [], _most_tokens(len(heads.embeddings), budget)
    for (prompt, ids), states in zip(completions, completion_states(resident, completions, budget), strict=True):
        tops = []
        for part in states.split(most):
            hidden = part.to(resident.device)
            low = torch.stack(heads.q_target(hidden)).amin(0)
            shifted = shifted_logps(head(hidden), low, heads.v(hidden), beta=beta)
            tops.append(TopLogps(*(column.cpu() for column in top_logps(shifted, TOP))))
        goals.append(Anchor(prompt, ids, TopLogps(*(torch.cat(column) for column in zip(*tops, strict=True)))))
    return goals
