"""RLOO: REINFORCE on whole completions, each against the mean of the others (Ahmadian et al. 2402.14740)."""

from torch import Tensor

from learner.algorithms.grpo import group_means
from learner.algorithms.kl import bounded_exp, kl_estimate
from learner.algorithms.precision import plain_floats, working
from learner.algorithms.surrogate import clipped_objective, is_clipped


def penalized_rewards(
    scores: Tensor, logps: Tensor, reference_logps: Tensor, mask: Tensor, *, kl_weight: float
) -> Tensor:
    """Return `score - kl_weight * sum_t (logp_t - reference_t)` per completion, (N,), no gradient.

    `scores` (N,); `logps` of the sampling policy, `reference_logps` and `mask` are (N, T), in nats.
    """
    return working(scores.detach()) - kl_weight * (
        kl_estimate(logps.detach(), reference_logps, "k1") * working(mask)
    ).sum(1)


def leave_one_out_advantages(rewards: Tensor, groups: Tensor) -> Tensor:
    """Return each completion's reward less the mean of its group's others, (N,), no gradient.

    It is `G / (G - 1) (R - group mean)`. `groups` (N,) long numbers the prompts. A completion alone in its group gets
    0.
    """
    reward = working(rewards.detach())
    mean, size = group_means(reward, groups)
    return (reward - mean) * size / (size - 1.0).clamp(min=1.0)


def rloo_loss(
    logps: Tensor, old_logps: Tensor, advantages: Tensor, *, eps_low: float, eps_high: float
) -> tuple[Tensor, dict[str, float]]:
    """Return the clipped loss per completion, (N,), and plain-float means.

    `logps` and `old_logps` (N,) are summed over completion tokens, in nats. The ratio is the whole completion's, so
    samples more than a step old are clipped. At `logps` = `old_logps` the gradient is REINFORCE's.
    """
    ratio = bounded_exp(working(logps) - working(old_logps.detach()))
    advantage = working(advantages.detach())
    values = clipped_objective(ratio, advantage, eps_low=eps_low, eps_high=eps_high)
    if not values.numel():
        return values, {}
    clipped = is_clipped(ratio, advantage, eps_low=eps_low, eps_high=eps_high)
    return values, plain_floats({"policy/ratio": ratio.mean(), "policy/clip_share": clipped.double().mean()})
