"""ILQL as an update: Q and V over tokens from logged replies, on a frozen policy whose logits they shift.

The adapters of all layers then learn the policy with the shifted logits.
"""

import logging
import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from learner.algorithms.anchor import TopLogps, top_logps
from learner.algorithms.ilql import FEEDBACK_REWARDS, QHeads, ilql_loss, shifted_logps
from learner.algorithms.sft import change_of
from learner.data.examples import Example
from learner.errors import CannotLearn, Diverged
from learner.methods.mixed import Guards, Meter, Progress, Trained, anchor_order
from learner.methods.steps import anchor_backward
from learner.model.anchors import TOP, Anchor
from learner.model.optimizer import Optimizer
from learner.model.resident import Resident
from learner.model.rollouts import Rollout
from learner.model.scoring import completion_logits, hidden_states, length_buckets, padded
from learner.settings import LearnerSettings
from policy.logprobs import LogitsOf

log = logging.getLogger(__name__)
LEARNING_RATE = 1e-3  # of Adam on the heads
GAMMA = 1.0  # discount per token
CQL_WEIGHT = 0.1  # of the term that keeps unseen tokens from looking good
POLYAK = 0.05  # share of the way to the heads that the target heads go with each step
MOST_LOGITS = (
    2**26
)  # in one table (tokens, vocabulary): 256 MiB of float32, and a pass (two heads, two targets, a policy) holds about eight


@dataclass(frozen=True)
class Logged:
    """One logged reply with its reward per token, and the states that its tokens were chosen from."""

    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    rewards: tuple[float, ...]
    weight: float
    states: Tensor  # (T, d), on the CPU


def train_ilql(
    resident: Resident,
    optimizer: Optimizer,
    guards: Guards,
    *,
    examples: Sequence[Example],
    samples: Sequence[Rollout],
    anchors: Sequence[Anchor],
    settings: LearnerSettings,
    seed: int,
    progress: Progress,
) -> Trained:
    """Learn heads on the resident weights (the live version's) as they are, then distil the policy that they shift to.

    It is distilled on the states of the logged replies and of `samples`, the live version's own. Raises Diverged,
    and CannotLearn where the model computes its logits in an unknown way.
    """
    states = dict.fromkeys((rollout.prompt_ids, rollout.ids) for rollout in samples)
    states |= dict.fromkeys((example.prompt_ids, reply.ids) for example in examples for reply in example.replies)
    steps = max(1, min(settings.steps, round(settings.passes * len(states) / (2 * settings.batch_size))))
    meter = Meter(progress, settings.ilql.steps + steps)
    logged = logged_replies(resident, examples, settings)
    through = policy_head(resident, logged[0])
    heads = _learned_heads(resident, logged, through, settings, seed, meter)
    goals = shifted_distributions(resident, heads, through, list(states), settings)
    goal_order = anchor_order(len(goals), 2 * settings.batch_size, steps, seed)
    order = anchor_order(
        len(anchors), settings.anchors.batch_size if settings.anchors.weight > 0 else 0, steps, seed + 1
    )
    stopped = ""
    for number in range(steps):
        batch, held = [goals[index] for index in goal_order[number]], [anchors[index] for index in order[number]]
        loss, metrics = anchor_backward(resident, batch, 1.0, settings.token_budget)
        anchor_loss, anchor_metrics = anchor_backward(resident, held, settings.anchors.weight, settings.token_budget)
        norm = optimizer.step()
        if not math.isfinite(loss + anchor_loss) or not math.isfinite(norm):
            raise Diverged(
                f"step {number + 1} gave a loss of {loss + anchor_loss} and a gradient norm of {norm}; live stays as it was"
            )
        seen = {"ilql/distance": metrics["anchor/kl"], **anchor_metrics, "gradient_norm": norm}
        if (number + 1) % 5 == 0 or number + 1 == steps:
            looked, stopped = guards.look()
            seen |= looked
        meter.step(
            loss + anchor_loss, seen, sum(len(goal.prompt_ids) + len(goal.completion_ids) for goal in [*batch, *held])
        )
        if stopped:
            log.info("stopped after step %d of %d: %s", number + 1, steps, stopped)
            break
    return meter.trained(stopped)


def logged_replies(resident: Resident, examples: Sequence[Example], settings: LearnerSettings) -> list[Logged]:
    """Return every reply of the examples with the reward that people's word on it means, on its last token (of what a
    correction changed).
    """
    plain: list[tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...], float]] = []
    for example in examples:
        for reply, name, at in _judged(example):
            rewards = [0.0] * len(reply)
            rewards[at] = FEEDBACK_REWARDS[name] * example.share
            plain.append((example.prompt_ids, reply, tuple(rewards), example.weight))
    states = completion_states(resident, [(prompt, reply) for prompt, reply, _, _ in plain], settings.token_budget)
    return [Logged(*item, state) for item, state in zip(plain, states, strict=True)]


def _judged(example: Example) -> list[tuple[tuple[int, ...], str, int]]:
    """Return (reply ids, name of its reward, index of the rewarded token) of each side."""
    if example.good is not None and example.bad is not None:
        if example.kind == "correction":
            last = change_of(example.bad.ids, example.good.ids).last_changed
            return [(example.good.ids, "corrected", last), (example.bad.ids, "original", -1)]
        return [(example.good.ids, "pair_chosen", -1), (example.bad.ids, "pair_rejected", -1)]
    return [(example.replies[0].ids, "thumb_up" if example.up else "thumb_down", -1)]


@torch.no_grad()
def completion_states(
    resident: Resident, replies: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], budget: int
) -> list[Tensor]:
    """Return for each (prompt, reply) the hidden states (T, d) of the resident weights that its tokens are chosen from,
    on the CPU.
    """
    found: list[Tensor] = [torch.empty(0)] * len(replies)
    for group in length_buckets([len(prompt) + len(reply) for prompt, reply in replies], budget):
        with resident.autocast():
            hidden = hidden_states(resident.model, [replies[index] for index in group]).float().cpu()
        for row, index in enumerate(group):
            prompt, reply = replies[index]
            found[index] = hidden[row, len(prompt) - 1 : len(prompt) + len(reply) - 1].clone()
    return found


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
def policy_head(resident: Resident, known: Logged) -> PolicyHead:
    """Return the policy's head. Raises CannotLearn where the model makes other logits of its states."""
    through = PolicyHead(resident)
    most = _most_tokens(through.vocabulary, resident.settings)
    with resident.autocast():
        expected = completion_logits(resident.model, [(known.prompt_ids, known.ids[:most])]).float()
        is_half = torch.is_autocast_enabled(resident.device.type) or resident.model.dtype in (
            torch.bfloat16,
            torch.float16,
        )
    apart, room = (through(known.states[:most].to(resident.device)) - expected).abs().max(), 0.1 if is_half else 1e-2
    if not apart <= room * (1.0 + expected.abs().max()):
        name = type(resident.base).__name__
        raise CannotLearn(
            f"ilql needs the logits of hidden states, and {name} treats its logits in a way of its own; use another algorithm"
        )
    return through


def _learned_heads(
    resident: Resident,
    logged: Sequence[Logged],
    through: PolicyHead,
    settings: LearnerSettings,
    seed: int,
    meter: Meter,
) -> QHeads:
    embeddings = resident.model.get_output_embeddings().weight.detach().float()
    heads = QHeads(embeddings, seed=seed).to(resident.device)
    adam = torch.optim.Adam(
        [parameter for parameter in heads.parameters() if parameter.requires_grad], lr=LEARNING_RATE
    )
    rng = random.Random(seed)
    total = sum(item.weight for item in logged) / len(logged)
    for step in range(settings.ilql.steps):
        batch = [logged[index] for index in rng.sample(range(len(logged)), min(2 * settings.batch_size, len(logged)))]
        adam.zero_grad()
        loss, metrics = head_backward(heads, batch, total, through, settings)
        if not math.isfinite(loss):
            raise Diverged(f"step {step + 1} of the Q heads gave a loss of {loss}; live stays as it was")
        adam.step()
        heads.follow(POLYAK)
        meter.step(loss, metrics, sum(len(item.ids) for item in batch))
    return heads


def head_backward(
    heads: QHeads, batch: Sequence[Logged], mean_weight: float, through: PolicyHead, settings: LearnerSettings
) -> tuple[float, dict[str, float]]:
    """Add the gradients of one step's loss to the heads, in as many passes as it needs; return the loss and its
    metrics, means over all tokens.
    """
    most, num_tokens, loss_sum = (
        _most_tokens(len(heads.embeddings), settings),
        sum(len(item.ids) for item in batch),
        0.0,
    )
    pieces = [piece for item in batch for piece in _pieces(heads, item, most, GAMMA)]
    seen: dict[str, float] = defaultdict(float)
    for group in length_buckets([len(piece.ids) for piece in pieces], most):
        some = [pieces[index] for index in group]
        values, metrics = _head_losses(heads, some, through, settings)
        weights = torch.tensor([piece.weight for piece in some], device=values.device) / mean_weight
        loss = (values * weights.unsqueeze(1)).sum() / num_tokens
        loss.backward()
        loss_sum += loss.item()
        for name, value in metrics.items():
            seen[name] += value * sum(len(piece.ids) for piece in some) / num_tokens
    return loss_sum, dict(seen)


def _most_tokens(vocabulary: int, settings: LearnerSettings) -> int:
    """Return how many tokens, padding included, one pass over all of the vocabulary may hold."""
    return max(1, min(settings.token_budget, MOST_LOGITS // vocabulary))


@torch.no_grad()
def _pieces(heads: QHeads, item: Logged, most: int, gamma: float) -> list[Logged]:
    """Return a reply in pieces of at most `most` tokens, each a reply whose last reward has in it what V expects of the
    next piece.
    """
    found = []
    for start in range(0, len(item.ids), most):
        end = start + most
        rewards = item.rewards[start:end]
        if end < len(item.ids):
            rewards = (
                *rewards[:-1],
                rewards[-1] + gamma * heads.v(item.states[end].to(heads.embeddings.device)).item(),
            )
        found.append(replace(item, ids=item.ids[start:end], rewards=rewards, states=item.states[start:end]))
    return found


def _head_losses(
    heads: QHeads, some: Sequence[Logged], through: PolicyHead, settings: LearnerSettings
) -> tuple[Tensor, dict[str, float]]:
    """Return the heads' loss per token of some replies, (N, T), with gradient, and its metrics."""
    device = heads.embeddings.device
    states = padded([item.states for item in some]).to(device)
    actions = padded([torch.tensor(item.ids) for item in some]).to(device)
    rewards = padded([torch.tensor(item.rewards) for item in some]).to(device)
    mask = padded([torch.ones(len(item.ids)) for item in some]).to(device)
    prior = torch.log_softmax(through(states), -1)  # the policy's own, whose words most of these are
    return ilql_loss(
        heads.q(states),
        heads.q_target(states),
        heads.v(states),
        actions,
        rewards,
        mask,
        prior=prior,
        gamma=GAMMA,
        tau=settings.ilql.tau,
        cql=CQL_WEIGHT,
    )


@torch.no_grad()
def shifted_distributions(
    resident: Resident,
    heads: QHeads,
    through: PolicyHead,
    replies: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
    settings: LearnerSettings,
) -> list[Anchor]:
    """Return each reply with the distribution at each of its tokens that the heads shift the resident weights' to."""
    goals, most = [], _most_tokens(len(heads.embeddings), settings)
    for (prompt, reply), states in zip(
        replies, completion_states(resident, replies, settings.token_budget), strict=True
    ):
        tops = []
        for part in states.split(most):
            hidden = part.to(resident.device)
            low = torch.stack(heads.q_target(hidden)).amin(0)
            shifted = shifted_logps(through(hidden), low, heads.v(hidden), beta=settings.ilql.beta)
            tops.append(TopLogps(*(column.cpu() for column in top_logps(shifted, TOP))))
        goals.append(Anchor(prompt, reply, TopLogps(*(torch.cat(column) for column in zip(*tops, strict=True)))))
    return goals
