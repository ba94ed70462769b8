"""Estimates of KL(policy || reference) from one sampled token each (Schulman, joschu.net/blog/kl-approx.html).

An estimator's value and its gradient are two things (Tang & Munos 2506.09477). On samples of the policy itself, with
x = logp - reference_logp:

| kind | as a value | its gradient, in expectation |
|---|---|---|
| k1 = x | unbiased, noisy | zero |
| k2 = x^2 / 2 | biased | exactly that of KL(policy || reference) |
| k3 = e^-x + x - 1 | unbiased, never negative | exactly that of KL(reference || policy), the other direction |
| corrected_k3 = ratio * k3 | as k3 | exactly that of KL(policy || reference) |

So k1 belongs detached inside a reward, k2 or corrected_k3 inside a loss, and k3 into reports.
"""

from typing import Literal

from torch import Tensor

from learner.algorithms.precision import working

KlKind = Literal["k1", "k2", "k3", "corrected_k3"]
LOG_RATIO_LIMIT = 20.0
"""Log-ratios are clamped to this many nats before `exp`; a larger one can only stop a run."""


def bounded_exp(log_ratio: Tensor) -> Tensor:
    """Return `exp(log_ratio)` with the exponent clamped to +-20 nats, where the gradient is 0."""
    return log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def kl_estimate(logps: Tensor, reference_logps: Tensor, kind: KlKind, *, old_logps: Tensor | None = None) -> Tensor:
    """Return the estimate per sampled token, shaped as `logps`, in nats; gradient flows through `logps` alone.

    `old_logps` are those of the policy that sampled, for `corrected_k3`. Its ratio keeps its gradient, without which
    the estimator is biased. Raises ValueError for another kind, or for `corrected_k3` without them.
    """
    x = working(logps) - working(reference_logps.detach())
    if kind == "k1":
        return x
    if kind == "k2":
        return 0.5 * x**2
    k3 = bounded_exp(-x) + x - 1.0
    if kind == "k3":
        return k3
    if kind == "corrected_k3":
        if old_logps is None:
            raise ValueError("corrected_k3 needs old_logps, the log-probabilities under the policy that sampled")
        return k3 * bounded_exp(working(logps) - working(old_logps.detach()))
    raise ValueError(f"unknown KL estimate {kind!r}; use k1, k2, k3 or corrected_k3")
