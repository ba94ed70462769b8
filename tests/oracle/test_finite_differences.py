"""The gradient of every loss equals the slope by finite differences in float64; float64 is kept throughout."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from learner.algorithms.anchor import forward_kl_loss, top_logps
from learner.algorithms.dpo import PAIR_KINDS, PairLengths, PairLogps, pair_loss
from learner.algorithms.grpo import grpo_loss
from learner.algorithms.ilql import ilql_loss
from learner.algorithms.kl import kl_estimate
from learner.algorithms.kto import apo_zero_unpaired_loss, kto_loss
from learner.algorithms.ppo import value_loss
from learner.algorithms.reward import RewardHeads, bias_prior_loss, bradley_terry_loss, thumb_loss
from learner.algorithms.rloo import rloo_loss
from learner.algorithms.sft import nll_loss, weighted_nll_loss
from learner.algorithms.surrogate import surrogate_loss

F64 = torch.float64


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


ROWS, TOKENS, VOCABULARY = 4, 5, 7
LENGTHS = torch.tensor([5, 2, 4, 1])
MASK = (torch.arange(TOKENS) < LENGTHS[:, None]).double()
UP = torch.tensor([True, False, True, False])
OLD, REFERENCE = -seeded(ROWS, TOKENS, seed=1).abs() * MASK, -seeded(ROWS, TOKENS, seed=2).abs() * MASK
ACTIONS = torch.randint(0, VOCABULARY, (ROWS, TOKENS), generator=torch.Generator().manual_seed(3))
BASE = top_logps(seeded(ROWS, VOCABULARY, seed=4), k=3)
BRANCH = torch.tensor([0, 0, 1, 2, 2, 2])


def pair_values(x: Tensor, kind: Any, flip_rate: float) -> Tensor:
    lengths = PairLengths(LENGTHS[:2], LENGTHS[2:])
    reference = PairLogps(*REFERENCE.sum(1).chunk(2))
    return pair_loss(
        kind, PairLogps(*x.chunk(2)), reference, lengths, beta=0.4, flip_rate=flip_rate, gamma=0.5, penalty=3.0
    )[0]


def ilql_values(x: Tensor, part: str) -> Tensor:
    parts = {name: seeded(ROWS, TOKENS, VOCABULARY, seed=i) for i, name in enumerate(("q0", "q1", "t0", "t1"))}
    parts[part] = x
    return ilql_loss(
        [parts["q0"], parts["q1"]],
        [parts["t0"], parts["t1"]],
        seeded(ROWS, TOKENS),
        ACTIONS,
        OLD,
        MASK,
        gamma=0.9,
        tau=0.8,
        cql=0.1,
    )[0]


def ilql_value_part(x: Tensor) -> Tensor:
    """Return the loss as a function of V: with targets held and gamma = 0, only V's own regression depends on it."""
    q = [seeded(ROWS, TOKENS, VOCABULARY, seed=i) for i in range(2)]
    return ilql_loss(q, q, x, ACTIONS, OLD, MASK, gamma=0.0, tau=0.8, cql=0.1)[0]


def noisy_ends(x: Tensor, flip_rate: float) -> Tensor:
    return bradley_terry_loss(x[:2], x[2:], margin=torch.tensor([0.1, 0.4], dtype=F64), flip_rate=flip_rate)[0]


LOSSES: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
    **{
        f"{kind}, {eps}": (lambda x, k=kind, e=eps: pair_values(x, k, e), seeded(ROWS))
        for kind in PAIR_KINDS
        for eps in (0.0, 0.2)
    },
    "kto": (lambda x: kto_loss(x, REFERENCE.sum(1), UP, 0.7, beta=0.3, down_weight=1.3)[0], seeded(ROWS)),
    "apo_zero_unpaired": (
        lambda x: apo_zero_unpaired_loss(x, REFERENCE.sum(1), UP, beta=0.3, down_weight=1.3)[0],
        seeded(ROWS),
    ),
    "nll": (lambda x: nll_loss(x, LENGTHS)[0], seeded(ROWS)),
    "weighted nll": (lambda x: weighted_nll_loss(x, seeded(6, seed=5).abs(), BRANCH, 3)[0], seeded(6)),
    "anchor": (lambda x: forward_kl_loss(x, BASE)[0], seeded(ROWS, VOCABULARY)),
    "value": (lambda x: value_loss(x, OLD, REFERENCE, MASK, clip=0.2)[0], seeded(ROWS, TOKENS)),
    "clip": (lambda x: surrogate_loss(x, OLD, seeded(ROWS), MASK)[0], OLD + 0.2 * seeded(ROWS, TOKENS)),
    "sequence": (
        lambda x: surrogate_loss(x, OLD, seeded(ROWS), MASK, level="sequence")[0],
        OLD + 0.2 * seeded(ROWS, TOKENS),
    ),
    "grpo": (lambda x: grpo_loss(x, OLD, REFERENCE, seeded(ROWS), MASK)[0], OLD + 0.2 * seeded(ROWS, TOKENS)),
    "grpo k3": (
        lambda x: grpo_loss(x, OLD, REFERENCE, seeded(ROWS), MASK, kl_kind="k3")[0],
        OLD + 0.2 * seeded(ROWS, TOKENS),
    ),
    "rloo": (
        lambda x: rloo_loss(x, OLD.sum(1), seeded(ROWS), eps_low=0.2, eps_high=0.2)[0],
        OLD.sum(1) + 0.2 * seeded(ROWS),
    ),
    "k2": (lambda x: kl_estimate(x, REFERENCE, "k2"), seeded(ROWS, TOKENS)),
    "bradley-terry": (lambda x: noisy_ends(x, 0.0), seeded(ROWS)),
    "bradley-terry, noisy": (lambda x: noisy_ends(x, 0.2), seeded(ROWS)),
    "bradley-terry, tie": (lambda x: bradley_terry_loss(x[:2], x[2:], is_tie=UP[:2])[0], seeded(ROWS)),
    "thumb": (lambda x: thumb_loss(x, UP, seeded(ROWS, seed=1), flip_rate=0.1)[0], seeded(ROWS)),
    "thumb, bias": (lambda x: thumb_loss(seeded(ROWS, seed=1), UP, x)[0], seeded(ROWS)),
    "bias prior": (bias_prior_loss, seeded(ROWS)),
    **{
        f"ilql, {part}": (lambda x, p=part: ilql_values(x, p), seeded(ROWS, TOKENS, VOCABULARY, seed=9))
        for part in ("q0", "q1")
    },
    "ilql, v": (ilql_value_part, seeded(ROWS, TOKENS, seed=9)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_the_slope(name: str) -> None:
    loss, at = LOSSES[name]
    x = at.clone().requires_grad_()
    values = loss(x)
    assert values.dtype == F64
    (gradient,) = torch.autograd.grad(values.sum(), x)
    step, slopes = 1e-6, torch.zeros(at.numel(), dtype=F64)
    for i in range(at.numel()):
        ahead, behind = at.flatten().clone(), at.flatten().clone()
        ahead[i] += step
        behind[i] -= step
        slopes[i] = (loss(ahead.view_as(at)).sum() - loss(behind.view_as(at)).sum()) / (2 * step)
    torch.testing.assert_close(gradient.flatten(), slopes, atol=1e-7, rtol=1e-6)
    assert gradient.abs().max() > 1e-3, "a gradient of nothing proves nothing"


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    loss, at = LOSSES[name]
    rounded = at.to(dtype)
    values = loss(rounded)
    assert values.dtype in (torch.float32, F64)  # float64 where another input of the case is float64
    torch.testing.assert_close(values, loss(rounded.double()), atol=1e-4, rtol=1e-4, check_dtype=False)


def test_the_prior_s_gradient_is_the_slope() -> None:
    heads = RewardHeads(torch.full((3,), 2.0), 2).double()
    with torch.no_grad():
        heads.weight += 0.5
    (gradient,) = torch.autograd.grad(heads.prior_loss(), heads.weight)
    torch.testing.assert_close(gradient, torch.full_like(gradient, 0.5 / 2.0**2))
