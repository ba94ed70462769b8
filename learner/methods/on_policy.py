"""Learning from the policy's own replies: PPO, GRPO and RLOO in rounds of sampling, scoring and a few gradient steps."""

import logging
import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from learner.algorithms.grpo import group_advantages, grpo_loss, has_contrast
from learner.algorithms.kl import KlKind, kl_estimate
from learner.algorithms.ppo import ValueHead, adapted_kl_weight, advantages_and_returns, token_rewards, value_loss
from learner.algorithms.reduction import Term, combine, token_weights
from learner.algorithms.rloo import leave_one_out_advantages, penalized_rewards, rloo_loss
from learner.algorithms.statistics import masked_whiten
from learner.algorithms.surrogate import surrogate_loss
from learner.errors import Diverged
from learner.methods.mixed import Guards, Meter, Progress, Trained, anchor_order
from learner.methods.steps import anchor_backward, micro_batches, summary_of
from learner.methods.variants import VARIANTS
from learner.model import distributed
from learner.model.anchors import Anchor
from learner.model.features import completion_features
from learner.model.optimizer import Optimizer
from learner.model.resident import Resident, Weights
from learner.model.rollouts import Rollout, sample_rollouts, sampler_logps
from learner.model.scoring import Ids, hidden_states, length_buckets, padded, row_logps, row_of, score
from learner.reward_model.functions import RewardFunction, reward_function
from learner.reward_model.model import RewardModel
from learner.settings import LearnerSettings
from policy.chat import decode, end_ids

log = logging.getLogger(__name__)
KL_HORIZON = 256.0  # rollouts over which the KL's weight changes by a fifth at most
# The estimate of the KL in GRPO's loss whose gradient is that of KL(policy || live), over several steps of a round too.
KL_KIND: KlKind = "corrected_k3"
REWARD_CLIP = 5.0  # largest size of the heads' mean, in units of reward
TRUNCATION_PENALTY = 1.0  # taken off the reward of a rollout that did not end, in units of reward
RLOO_CLIP = (0.2, 0.28)
GAMMA, GAE_LAMBDA = 1.0, 0.95  # per token
VALUE_LEARNING_RATE = 1e-3
VALUE_WARMUP_STEPS = 20  # of the value head alone, before the policy moves


@dataclass(frozen=True)
class Batch:
    """One round's replies, N of them, grouped by prompt; per-token values are (N, T), right-padded, on the model's
    device.
    """

    rollouts: list[Rollout]
    groups: Tensor  # (N,) long: the number of the prompt
    mask: Tensor  # (N, T), 1 on reply tokens
    old: Tensor  # (N, T), nats, of the policy that sampled
    live: Tensor  # (N, T), nats, of the live version
    rewards: Tensor  # (N,)

    @property
    def num_tokens(self) -> int:
        """Tokens that were sampled."""
        return sum(len(rollout.ids) for rollout in self.rollouts)


def train_on_policy(
    resident: Resident,
    optimizer: Optimizer,
    guards: Guards,
    rewards: RewardModel,
    *,
    prompts: Sequence[Ids],
    live_weights: Weights,
    anchors: Sequence[Anchor],
    settings: LearnerSettings,
    seed: int,
    progress: Progress,
) -> Trained:
    """Run the rounds of an update on the resident weights, which are the live version's at the start. Raises Diverged."""
    settings = _with(settings, "rollout", minibatches=min(settings.rollout.minibatches, len(prompts)))
    meter = Meter(progress, settings.rollout.rounds * settings.rollout.minibatches)
    function = reward_function(settings.reward_model.functions)
    critic = Critic(resident, settings) if settings.algorithm == "ppo" else None
    per_step = settings.anchors.batch_size if settings.anchors.weight > 0 else 0
    order = iter(anchor_order(len(anchors), per_step, meter.steps, seed))
    rng, stopped, kl_weight = random.Random(seed), "", settings.ppo.kl_weight
    for number in range(settings.rollout.rounds):
        asked = rng.sample(list(prompts), min(settings.rollout.prompts, len(prompts)))
        batch = sampled_batch(
            resident, rewards, function, asked, live_weights if number else None, settings, seed + number
        )
        settings = _with(settings, "ppo", kl_weight=kl_weight)
        weights, seen = _advantages(batch, critic, settings)
        if settings.ppo.kl_target > 0 and number:  # the first round's policy is the live version
            kl_weight = adapted_kl_weight(
                kl_weight,
                seen["rollout/kl"],
                target=settings.ppo.kl_target,
                num_sequences=len(batch.rollouts),
                horizon=KL_HORIZON,
            )
        meter.count(batch.num_tokens)
        for place, part in enumerate(_minibatches(batch, settings, seed + number), 1):
            anchors_now = [anchors[index] for index in next(order)]
            loss, metrics, tokens = _step_gradients(resident, batch, weights, part, settings)
            anchor_loss, anchor_metrics = anchor_backward(
                resident, anchors_now, settings.anchors.weight, settings.token_budget
            )
            norm = optimizer.step()
            if not math.isfinite(loss + anchor_loss) or not math.isfinite(norm):
                raise Diverged(
                    f"round {number + 1} gave a loss of {loss + anchor_loss} and a gradient norm of {norm}; live stays as it was"
                )
            metrics |= seen | anchor_metrics | {"gradient_norm": norm}
            if place % settings.rollout.minibatches == 0:  # the end of a pass
                looked, stopped = guards.look()
                metrics |= looked
            meter.step(
                loss + anchor_loss,
                metrics,
                tokens + sum(len(anchor.prompt_ids) + len(anchor.completion_ids) for anchor in anchors_now),
            )
            if stopped:
                break
        if stopped:
            log.info("stopped after round %d of %d: %s", number + 1, settings.rollout.rounds, stopped)
            break
    return meter.trained(stopped)


def sampled_batch(
    resident: Resident,
    rewards: RewardModel,
    function: RewardFunction | None,
    prompts: Sequence[Ids],
    live_weights: Weights | None,
    settings: LearnerSettings,
    seed: int,
) -> Batch:
    """Sample a group of replies to each prompt from the resident weights and score them; `live_weights` is None where
    these are the live ones.
    """
    asked = [prompt for prompt in prompts for _ in range(settings.rollout.group_size)]
    with resident.autocast():
        sampled = sample_rollouts(
            resident.model,
            asked,
            end_ids=end_ids(resident.tokenizer),
            max_tokens=settings.rollout.max_tokens,
            seed=seed,
        )
        rollouts = distributed.the_first(sampled)
        replies = [(rollout.prompt_ids, rollout.ids) for rollout in rollouts]
        size = settings.rollout.group_size
        rows = [
            row_of(prompt, *(rollout.ids for rollout in rollouts[k * size : (k + 1) * size]))
            for k, prompt in enumerate(prompts)
        ]
        old = sampler_logps(resident.model, rollouts, rows, settings.token_budget, seed)
        live = old
        if live_weights is not None:
            with resident.holding(live_weights):
                live = row_logps(resident.model, rows, settings.token_budget)
    features = completion_features(resident, replies, settings.token_budget)
    scores = rewards.rewards(features, pessimism=settings.reward_model.pessimism, limit=REWARD_CLIP)
    if function is not None:
        texts = [(decode(resident.tokenizer, prompt), decode(resident.tokenizer, reply)) for prompt, reply in replies]
        scores = scores + torch.tensor([function(*text) for text in texts])
    scores = scores - TRUNCATION_PENALTY * torch.tensor([0.0 if rollout.is_finished else 1.0 for rollout in rollouts])
    groups = torch.arange(len(prompts)).repeat_interleave(settings.rollout.group_size)
    device = resident.device
    return Batch(
        rollouts,
        groups.to(device),
        _mask(rollouts).to(device),
        padded(old).to(device),
        padded(live).to(device),
        scores.to(device),
    )


class Critic:
    """PPO's value head, on the hidden states of the policy that sampled (detached: it cannot pull on the policy)."""

    def __init__(self, resident: Resident, settings: LearnerSettings) -> None:
        self._resident, self._settings = resident, settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.head = ValueHead(resident.base.config.get_text_config().hidden_size).to(resident.device)
        self._adam = torch.optim.Adam(self.head.parameters(), lr=VALUE_LEARNING_RATE, eps=1e-5)
        self._is_warm = False

    def learn(self, batch: Batch, rewards: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return advantages (N, T) of a round with per-token `rewards` (N, T), then fit the head to the round's
        returns.

        Before the first of them the head, which knows nothing, learns what followed each state: else the first steps
        had no baseline.
        """
        states = self._states(batch)
        if not self._is_warm:
            nothing = torch.zeros_like(rewards)
            _, followed = advantages_and_returns(rewards, nothing, batch.mask, gamma=GAMMA, lam=1.0)
            self._fit(states, nothing, followed, batch.mask, VALUE_WARMUP_STEPS, clip=math.inf)
            self._is_warm = True
        with torch.no_grad():
            old = self.head(states) * batch.mask
        advantages, returns = advantages_and_returns(rewards, old, batch.mask, gamma=GAMMA, lam=GAE_LAMBDA)
        return advantages, self._fit(
            states, old, returns, batch.mask, self._settings.rollout.minibatches, clip=math.inf
        )

    def _fit(
        self, states: Tensor, old: Tensor, returns: Tensor, mask: Tensor, steps: int, *, clip: float
    ) -> dict[str, float]:
        """Take some steps towards the returns (N, T); return what the loss was at the first."""
        metrics: dict[str, float] = {}
        for _ in range(steps):
            values, seen = value_loss(self.head(states) * mask, old, returns, mask, clip=clip)
            metrics = metrics or seen
            self._adam.zero_grad()
            (values.sum() / mask.sum()).backward()
            self._adam.step()
        return metrics

    @torch.no_grad()
    def _states(self, batch: Batch) -> Tensor:
        """Return (N, T, d): the hidden state that each reply token was predicted from."""
        replies = [(rollout.prompt_ids, rollout.ids) for rollout in batch.rollouts]
        found: list[Tensor] = [torch.empty(0)] * len(replies)
        for group in length_buckets(
            [len(prompt) + len(reply) for prompt, reply in replies], self._settings.token_budget
        ):
            with self._resident.autocast():
                hidden = hidden_states(self._resident.model, [replies[index] for index in group]).float()
            for row, index in enumerate(group):
                prompt, reply = replies[index]
                found[index] = hidden[row, len(prompt) - 1 : len(prompt) + len(reply) - 1]
        return pad_sequence(found, batch_first=True)


def _advantages(batch: Batch, critic: Critic | None, settings: LearnerSettings) -> tuple[Tensor, dict[str, float]]:
    """Return advantages, (N,) or for PPO (N, T), and what the round's samples were like."""
    kl = (
        (kl_estimate(batch.old, batch.live, "k3") * batch.mask).sum(1).mean()
    )  # never below 0, and less noisy than the mean log-ratio
    seen = {"reward/mean": batch.rewards.mean().item(), "reward/deviation": batch.rewards.std().item()}
    seen |= {
        "rollout/kl": kl.item(),
        "rollout/kl_weight": settings.ppo.kl_weight,
        "rollout/length": batch.mask.sum(1).mean().item(),
    }
    if settings.algorithm == "rloo":
        rewards = penalized_rewards(batch.rewards, batch.old, batch.live, batch.mask, kl_weight=settings.ppo.kl_weight)
        return leave_one_out_advantages(rewards, batch.groups), seen
    if critic is not None:
        rewards = token_rewards(batch.rewards, batch.old, batch.live, batch.mask, kl_weight=settings.ppo.kl_weight)
        advantages, metrics = critic.learn(batch, rewards)
        return masked_whiten(advantages, batch.mask), seen | metrics
    advantages = group_advantages(batch.rewards, batch.groups, scale=VARIANTS[settings.ppo.variant].advantage_scale)
    contrast = has_contrast(batch.rewards, batch.groups)
    return advantages * contrast, seen | {"rollout/contrast": contrast.double().mean().item()}


def _minibatches(batch: Batch, settings: LearnerSettings, seed: int) -> list[list[int]]:
    """Return the round's steps as indices of replies; whole prompts stay together, since their replies share a row."""
    rng, parts = random.Random(seed), []
    count = int(batch.groups.max()) + 1
    size = settings.rollout.group_size
    order = list(range(count))
    rng.shuffle(order)
    for number in range(settings.rollout.minibatches):
        some = order[number :: settings.rollout.minibatches]
        parts.append([group * size + index for group in some for index in range(size)])
    return parts


def _step_gradients(
    resident: Resident, batch: Batch, advantages: Tensor, part: Sequence[int], settings: LearnerSettings
) -> tuple[float, dict[str, float], int]:
    """Add one step's gradients; return its loss, metrics and number of tokens."""
    size, budget = settings.rollout.group_size, settings.token_budget
    firsts = list(part[::size])  # one row per prompt, with all its replies
    lengths = [
        len(batch.rollouts[first].prompt_ids) + sum(len(batch.rollouts[first + k].ids) for k in range(size))
        for first in firsts
    ]
    mask = batch.mask[list(part)]
    total = _total(mask, settings)
    loss_sum, tokens = 0.0, sum(lengths)
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    mine = distributed.share(lengths)
    for places in micro_batches(resident, [lengths[index] for index in mine], budget):
        group = [mine[place] for place in places]
        members = [firsts[index] + k for index in group for k in range(size)]
        rows = [
            row_of(
                batch.rollouts[firsts[index]].prompt_ids, *(batch.rollouts[firsts[index] + k].ids for k in range(size))
            )
            for index in group
        ]
        with resident.autocast():
            scored = score(resident.model, rows)
        loss, seen = _loss(scored.token_logps, scored.lengths, batch, advantages[members], members, total, settings)
        loss.backward()
        loss_sum += loss.item()
        for name, value in seen.items():
            found[name].append(
                (value, float(len(members)) if settings.algorithm == "rloo" else float(scored.lengths.sum()))
            )
    return sum(distributed.gathered(loss_sum)), summary_of(found), tokens


def _total(mask: Tensor, settings: LearnerSettings) -> float:
    """Return what the step's losses are divided by: the number of replies, their tokens, or replies times the longest
    allowed.
    """
    reduction = VARIANTS[settings.ppo.variant].reduction
    if settings.algorithm == "rloo" or reduction == "grpo":
        return float(mask.size(0))
    return float(mask.sum()) if reduction == "dapo" else float(mask.size(0) * settings.rollout.max_tokens)


def _loss(
    token_logps: Tensor,
    lengths: Tensor,
    batch: Batch,
    advantages: Tensor,
    members: Sequence[int],
    total: float,
    settings: LearnerSettings,
) -> tuple[Tensor, dict[str, float]]:
    here = list(members)
    width = int(lengths.max())
    logps, mask = padded(list(token_logps.split(lengths.tolist()))), batch.mask[here, :width]
    old, live = batch.old[here, :width], batch.live[here, :width]
    if settings.algorithm == "rloo":
        values, metrics = rloo_loss(
            (logps * mask).sum(1),
            (old * mask).sum(1),
            advantages,
            eps_low=RLOO_CLIP[0],
            eps_high=RLOO_CLIP[1],
        )
        weights = torch.ones_like(values)
    else:
        variant = VARIANTS[settings.ppo.variant]
        bounds: dict[str, Any] = {"eps_low": variant.clip_low, "eps_high": variant.clip_high, "kind": variant.kind}
        if settings.algorithm == "ppo":
            values, metrics = surrogate_loss(logps, old, advantages[:, :width], mask, **bounds)
        else:
            values, metrics = grpo_loss(
                logps,
                old,
                live,
                advantages,
                mask,
                level=variant.ratio_level,
                kl_weight=settings.ppo.kl_weight,
                kl_kind=KL_KIND,
                **bounds,
            )
        weights = token_weights(mask, variant.reduction)
    loss, shares = combine([Term(settings.algorithm, values, weights, total)])
    return loss, metrics | shares


def _with(settings: LearnerSettings, group: str, **values: Any) -> LearnerSettings:
    """Return the settings with some of a group's changed."""
    return settings.model_copy(update={group: getattr(settings, group).model_copy(update=values)})


def _mask(rollouts: Sequence[Rollout]) -> Tensor:
    return padded([torch.ones(len(rollout.ids)) for rollout in rollouts])
