"""ILQL as an update: Q and V over tokens from logged replies, on a frozen policy; then the adapter learns the policy that they shift it to.

Served as it stands, ILQL needs its heads at every token. Distilled into the adapter, its policy runs wherever any version runs.
"""

import logging
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from learner.algorithms.anchor import TopLogps, top_logps
from learner.algorithms.ilql import FEEDBACK_REWARDS, QHeads, ilql_loss, shifted_logps
from learner.algorithms.sft import change_of
from learner.anchors import TOP, Anchor
from learner.errors import CannotLearn, Diverged
from learner.examples import Example
from learner.optimiser import Optimiser, cooled
from learner.resident import Resident
from learner.rollouts import Rollout
from learner.scoring import hidden_states, length_buckets, reply_logits
from learner.settings import LearnerSettings
from learner.steps import anchor_backward
from learner.trainer import Guards, Meter, Progress, Trained, anchor_order
from policy.logprobs import logits_of

log = logging.getLogger(__name__)
Head = Callable[[Tensor], Tensor]


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
    optimiser: Optimiser,
    guards: Guards,
    *,
    examples: Sequence[Example],
    samples: Sequence[Rollout],
    anchors: Sequence[Anchor],
    settings: LearnerSettings,
    seed: int,
    progress: Progress,
) -> Trained:
    """Learn heads on the resident weights (the live version's) as they are, then move these towards the policy that the heads shift to.

    `samples` are the live version's own replies, on whose states, beside those of the logged replies, the new policy is learned.
    Raises Diverged.
    """
    meter = Meter(progress, settings.q_steps + settings.steps)
    logged = logged_replies(resident, examples, settings.token_budget)
    through = policy_head(resident, logged[0])
    heads = _learned_heads(resident, logged, through, settings, seed, meter)
    states = [(rollout.prompt_ids, rollout.ids) for rollout in samples]
    states += [(example.prompt_ids, reply.ids) for example in examples for reply in example.replies]
    goals = shifted_distributions(resident, heads, through, list(dict.fromkeys(states)), settings)
    goal_order = anchor_order(len(goals), 2 * settings.batch_items, settings.steps, seed)
    order = anchor_order(len(anchors), settings.anchor_batch if settings.anchor > 0 else 0, settings.steps, seed + 1)
    stopped = ""
    for number in range(settings.steps):
        batch, held = [goals[index] for index in goal_order[number]], [anchors[index] for index in order[number]]
        loss, metrics = anchor_backward(resident, batch, 1.0, settings.token_budget)
        anchor_loss, anchor_metrics = anchor_backward(resident, held, settings.anchor, settings.token_budget)
        norm = optimiser.step(cooled(number + 1, settings.steps, settings.cooldown))
        if not math.isfinite(loss + anchor_loss) or not math.isfinite(norm):
            raise Diverged(f"step {number + 1} gave a loss of {loss + anchor_loss} and a gradient norm of {norm}; live stays as it was")
        seen = {"ilql/distance": metrics["anchor/kl"], **anchor_metrics, "gradient_norm": norm}
        if (number + 1) % 5 == 0 or number + 1 == settings.steps:
            looked, stopped = guards.look({})
            seen |= looked
        meter.step(loss + anchor_loss, seen, sum(len(goal.prompt_ids) + len(goal.reply_ids) for goal in [*batch, *held]))
        if stopped:
            log.info("stopped after step %d of %d: %s", number + 1, settings.steps, stopped)
            break
    return meter.trained(stopped)


def logged_replies(resident: Resident, examples: Sequence[Example], budget: int) -> list[Logged]:
    """Return every reply of the examples with the reward that people's word on it means, on its last token (of what a correction changed)."""
    plain: list[tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...], float]] = []
    for example in examples:
        for reply, name, at in _judged(example):
            rewards = [0.0] * len(reply)
            rewards[at] = FEEDBACK_REWARDS[name] * example.share
            plain.append((example.prompt_ids, reply, tuple(rewards), example.weight))
    states = reply_states(resident, [(prompt, reply) for prompt, reply, _, _ in plain], budget)
    return [Logged(*item, state) for item, state in zip(plain, states, strict=True)]


def _judged(example: Example) -> list[tuple[tuple[int, ...], str, int]]:
    """Return (reply ids, name of its reward, index of the rewarded token) of each side."""
    if example.good is not None and example.bad is not None:
        if example.kind == "edit":
            last = change_of(example.bad.ids, example.good.ids).last_changed
            return [(example.good.ids, "edited", last), (example.bad.ids, "original", -1)]
        return [(example.good.ids, "pair_chosen", -1), (example.bad.ids, "pair_rejected", -1)]
    return [(example.replies[0].ids, "thumb_up" if example.up else "thumb_down", -1)]


@torch.no_grad()
def reply_states(resident: Resident, replies: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], budget: int) -> list[Tensor]:
    """Return for each (prompt, reply) the hidden states (T, d) of the resident weights that its tokens are chosen from, on the CPU."""
    found: list[Tensor] = [torch.empty(0)] * len(replies)
    for group in length_buckets([len(prompt) + len(reply) for prompt, reply in replies], budget):
        with resident.autocast():
            hidden = hidden_states(resident.model, [replies[index] for index in group]).float().cpu()
        for row, index in enumerate(group):
            prompt, reply = replies[index]
            found[index] = hidden[row, len(prompt) - 1 : len(prompt) + len(reply) - 1].clone()
    return found


@torch.no_grad()
def policy_head(resident: Resident, known: Logged) -> Head:
    """Return the policy's logits (..., V), float32, as a function of hidden states (..., d). Raises CannotLearn where the model's own differ."""
    through = logits_of(resident.model)
    dtype = resident.model.get_output_embeddings().weight.dtype

    def logits(states: Tensor) -> Tensor:
        with torch.no_grad(), resident.autocast():
            return through(states.to(dtype)).float()

    with resident.autocast():
        expected = reply_logits(resident.model, [(known.prompt_ids, known.ids)]).float()
        is_half = torch.is_autocast_enabled(resident.device.type) or dtype in (torch.bfloat16, torch.float16)
    apart, room = (logits(known.states.to(resident.device)) - expected).abs().max(), 0.1 if is_half else 1e-2
    if not apart <= room * (1.0 + expected.abs().max()):
        name = type(resident.base).__name__
        raise CannotLearn(f"ilql needs the logits of hidden states, and {name} treats its logits in a way of its own; use another algorithm")
    return logits


def _learned_heads(resident: Resident, logged: Sequence[Logged], through: Head, settings: LearnerSettings, seed: int, meter: Meter) -> QHeads:
    heads = QHeads(resident.model.get_output_embeddings().weight.detach().float(), seed=seed).to(resident.device)
    adam = torch.optim.Adam([parameter for parameter in heads.parameters() if parameter.requires_grad], lr=settings.q_rate)
    rng = random.Random(seed)
    total = sum(item.weight for item in logged) / len(logged)
    for step in range(settings.q_steps):
        batch = [logged[index] for index in rng.sample(range(len(logged)), min(2 * settings.batch_items, len(logged)))]
        loss, metrics = _head_loss(heads, batch, total, through, settings)
        if not torch.isfinite(loss):
            raise Diverged(f"step {step + 1} of the Q heads gave a loss of {loss.item()}; live stays as it was")
        adam.zero_grad()
        loss.backward()
        adam.step()
        heads.follow(settings.q_polyak)
        meter.step(loss.item(), metrics, sum(len(item.ids) for item in batch))
    return heads


def _head_loss(
    heads: QHeads, batch: Sequence[Logged], mean_weight: float, through: Head, settings: LearnerSettings
) -> tuple[Tensor, dict[str, float]]:
    device = heads.embeddings.device
    states = pad_sequence([item.states for item in batch], batch_first=True).to(device)
    actions = pad_sequence([torch.tensor(item.ids) for item in batch], batch_first=True).to(device)
    rewards = pad_sequence([torch.tensor(item.rewards) for item in batch], batch_first=True).to(device)
    mask = pad_sequence([torch.ones(len(item.ids)) for item in batch], batch_first=True).to(device)
    prior = torch.log_softmax(through(states), -1)  # the policy's own, whose words most of these are
    values, metrics = ilql_loss(
        heads.q(states), heads.q_target(states), heads.v(states), actions, rewards, mask,
        prior=prior, gamma=settings.q_gamma, tau=settings.q_tau, cql=settings.q_cql,
    )  # fmt: skip
    weights = torch.tensor([item.weight for item in batch], device=device) / mean_weight
    return (values * weights.unsqueeze(1)).sum() / mask.sum(), metrics


@torch.no_grad()
def shifted_distributions(
    resident: Resident, heads: QHeads, through: Head, replies: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], settings: LearnerSettings
) -> list[Anchor]:
    """Return each reply with the distribution at each of its tokens that the heads shift the resident weights' to."""
    goals = []
    for (prompt, reply), states in zip(replies, reply_states(resident, replies, settings.token_budget), strict=True):
        hidden = states.to(resident.device)
        low = torch.stack(heads.q_target(hidden)).amin(0)
        shifted = shifted_logps(through(hidden), low, heads.v(hidden), beta=settings.q_beta, top_k=0)
        goals.append(Anchor(prompt, reply, TopLogps(*(part.cpu() for part in top_logps(shifted, TOP)))))
    return goals
