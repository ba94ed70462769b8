"""PPO, GRPO and RLOO as updates: rounds of sampling, scoring and a few gradient steps on the policy's own rollouts."""

import logging
import random
from collections.abc import Sequence

from torch import Tensor

from learner.algorithms.grpo import group_advantages, has_contrast
from learner.algorithms.kl import kl_estimate
from learner.algorithms.ppo import adapted_kl_weight, token_rewards
from learner.algorithms.rloo import leave_one_out_advantages, penalized_rewards
from learner.algorithms.statistics import masked_whiten
from learner.methods.critic import Critic
from learner.methods.guards import Guards, check_finite
from learner.methods.policy_gradient import Objective, step_gradients
from learner.methods.rounds import Batch, minibatches_of, sampled_batch
from learner.methods.step_metrics import Meter, Progress, Trained
from learner.methods.steps import anchor_backward
from learner.methods.variants import VARIANTS
from learner.model.anchors import Anchor, anchor_order, anchors_per_step
from learner.model.optimizer import Optimizer
from learner.model.resident import Resident, Weights
from learner.model.rollouts import SAMPLER_LIMIT
from learner.model.scoring import Ids
from learner.reward_model.functions import reward_function
from learner.reward_model.model import RewardModel
from learner.settings import LearnerSettings

log = logging.getLogger(__name__)
GSPO_NOISE = 1e-4  # nats per token, of recorded log-probabilities: its clip is 3e-4 per rollout
KL_HORIZON = 256.0  # rollouts over which the KL's weight changes by a fifth at most


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
    """Run an update's rounds on the resident weights, which are the live version's at the start. Raises Diverged."""
    rollout, budget, kl_weight = settings.rollout, settings.token_budget, settings.ppo.kl_weight
    num_steps = min(rollout.minibatches, len(prompts))  # a round; each takes whole prompts
    meter = Meter(progress, rollout.rounds * num_steps)
    function = reward_function(settings.reward_model.functions)
    critic = None
    if settings.algorithm == "ppo":
        critic = Critic(resident, steps=num_steps, budget=budget, seed=settings.seed)
    order = iter(anchor_order(len(anchors), anchors_per_step(settings.anchors), meter.steps, seed))
    rng, stopped = random.Random(seed), ""
    for number in range(rollout.rounds):
        batch = sampled_batch(
            resident,
            rewards,
            function,
            rng.sample(list(prompts), min(rollout.prompts, len(prompts))),
            live_weights if number else None,
            rollout,
            pessimism=settings.reward_model.pessimism,
            budget=budget,
            seed=seed + number,
            noise=SAMPLER_LIMIT if settings.ppo.variant != "gspo" else GSPO_NOISE,
        )
        meter.count(batch.num_tokens)
        objective = Objective(settings.algorithm, VARIANTS[settings.ppo.variant], kl_weight, rollout.max_tokens)
        advantages, seen = advantages_of(batch, critic, objective)
        if number:  # the first round's policy is the live version
            kl_weight = _next_kl_weight(kl_weight, seen["rollout/kl"], settings.ppo.kl_target, len(batch.rollouts))
        parts = minibatches_of(batch, rollout.group_size, num_steps, seed + number)
        for step, part in enumerate(parts, 1):
            some = [anchors[index] for index in next(order)]
            loss, metrics, tokens = step_gradients(
                resident, batch, advantages, part, objective, group_size=rollout.group_size, budget=budget
            )
            anchor_loss, anchor_metrics = anchor_backward(resident, some, settings.anchors.weight, budget)
            norm = optimizer.step()
            check_finite(f"round {number + 1}", loss + anchor_loss, norm)
            metrics |= seen | anchor_metrics | {"gradient_norm": norm}
            if step == len(parts):  # the end of the round
                looked, stopped = guards.look()
                metrics |= looked
            meter.step(loss + anchor_loss, metrics, tokens + sum(anchor.num_tokens for anchor in some))
        if stopped:
            log.info("stopped after round %d of %d: %s", number + 1, rollout.rounds, stopped)
            break
    return meter.trained(stopped)


def _next_kl_weight(kl_weight: float, kl: float, target: float, num_rollouts: int) -> float:
    if target <= 0:
        return kl_weight
    return adapted_kl_weight(kl_weight, kl, target=target, num_sequences=num_rollouts, horizon=KL_HORIZON)


def advantages_of(batch: Batch, critic: Critic | None, objective: Objective) -> tuple[Tensor, dict[str, float]]:
    """Return a round's advantages, (N,) or with a critic (N, T), and its metrics."""
    kl_weight = objective.kl_weight
    # k3 is never below 0, and less noisy than the mean log-ratio.
    kl = (kl_estimate(batch.old, batch.live, "k3") * batch.mask).sum(1).mean()
    seen = {
        "reward/mean": batch.rewards.mean().item(),
        "reward/deviation": batch.rewards.std().item(),
        "rollout/kl": kl.item(),
        "rollout/kl_weight": kl_weight,
        "rollout/length": batch.mask.sum(1).mean().item(),
    }
    if objective.algorithm == "rloo":
        rewards = penalized_rewards(batch.rewards, batch.old, batch.live, batch.mask, kl_weight=kl_weight)
        return leave_one_out_advantages(rewards, batch.groups), seen
    if critic is not None:
        rewards = token_rewards(batch.rewards, batch.old, batch.live, batch.mask, kl_weight=kl_weight)
        advantages, metrics = critic.learn(batch, rewards)
        return masked_whiten(advantages, batch.mask), seen | metrics
    advantages = group_advantages(batch.rewards, batch.groups, scale=objective.variant.advantage_scale)
    contrast = has_contrast(batch.rewards, batch.groups)
    return advantages * contrast, seen | {"rollout/contrast": contrast.double().mean().item()}
