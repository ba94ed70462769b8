"""Every loss that TRL 1.16 has equals TRL's, value and gradient, to 1e-6 in float32."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from learner.algorithms.dpo import PairLengths, PairLogps, pair_loss, sigmoid_loss
from learner.algorithms.grpo import grpo_loss
from learner.algorithms.kto import apo_zero_unpaired_loss, kto_loss
from learner.algorithms.reduction import Reduction, Term, combine, token_weights
from learner.algorithms.reward import bradley_terry_loss
from learner.algorithms.rloo import rloo_loss
from learner.algorithms.sft import nll_loss
from tests.oracle import trl_stub
from tests.oracle.reductions import total_of
from tests.oracle.trl_stub import Completions, random_completions

pytest.importorskip("trl", reason="the oracle needs trl")
SEEDS = range(4)


def random_like(x: Tensor, seed: int, scale: float) -> Tensor:
    return scale * torch.randn(x.shape, generator=torch.Generator().manual_seed(1000 + seed))


def assert_equal(ours: Tensor, theirs: Tensor, *leaves: Tensor) -> None:
    """Check equal values () and equal gradients with respect to each leaf."""
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6, rel=1e-6)
    for a, b in zip(
        torch.autograd.grad(ours, leaves, retain_graph=True), torch.autograd.grad(theirs, leaves), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


def pair_parts(pairs: Completions, reference: Tensor) -> tuple[PairLogps, PairLogps, PairLengths]:
    return (
        PairLogps(*pairs.token_logps.sum(1).chunk(2)),
        PairLogps(*reference.chunk(2)),
        PairLengths(*pairs.lengths.chunk(2)),
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("ours", "theirs", "beta", "flip_rate"),
    [
        ("sigmoid", "sigmoid", 0.3, 0.0),
        ("robust", "robust", 0.3, 0.15),
        ("hinge", "hinge", 0.3, 0.0),
        ("ipo", "ipo", 0.2, 0.0),
        ("length_normalized", "sigmoid_norm", 2.0, 0.0),
        ("apo_zero", "apo_zero", 0.3, 0.0),
    ],
)
def test_pair_losses(ours: Any, theirs: str, beta: float, flip_rate: float, seed: int) -> None:
    pairs = random_completions(8, seed)
    reference = pairs.token_logps.detach().sum(1) + random_like(pairs.lengths, seed, 3.0)
    values, _ = pair_loss(ours, *pair_parts(pairs, reference), beta=beta, flip_rate=flip_rate)
    assert_equal(
        values.mean(), trl_stub.dpo_loss(pairs, reference, theirs, beta=beta, label_smoothing=flip_rate), pairs.leaf
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_conservative_dpo_by_way_of_robust(seed: int) -> None:
    # TRL's `sigmoid` silently ignores label_smoothing; cDPO = (1 - 2 eps) rDPO - 2 eps log sigmoid(-beta margin).
    pairs, eps = random_completions(8, seed), 0.2
    reference = pairs.token_logps.detach().sum(1) + random_like(pairs.lengths, seed, 3.0)
    policy, ref, _ = pair_parts(pairs, reference)
    margin = (policy.chosen - ref.chosen) - (policy.rejected - ref.rejected)
    robust = trl_stub.dpo_loss(pairs, reference, "robust", beta=0.3, label_smoothing=eps)
    theirs = (1 - 2 * eps) * robust - 2 * eps * F.logsigmoid(-0.3 * margin).mean()
    assert_equal(sigmoid_loss(policy, ref, beta=0.3, flip_rate=eps).mean(), theirs, pairs.leaf)


@pytest.mark.parametrize("flip_rate", [0.0, 0.1])
def test_simpo(flip_rate: float) -> None:
    pairs = random_completions(8, 0)
    policy, reference, lengths = pair_parts(pairs, torch.zeros(8))
    values, _ = pair_loss("simpo", policy, reference, lengths, beta=2.0, gamma=0.7, flip_rate=flip_rate)
    means = (pairs.token_logps.sum(1) / pairs.lengths).chunk(2)
    theirs = trl_stub.simpo_loss(*means, beta=2.0, gamma=0.7, label_smoothing=flip_rate)
    assert_equal(values.mean(), theirs.mean(), pairs.leaf)


def test_likelihood() -> None:
    # TRL's `sft` is a mean over the batch's tokens, ours one per sequence: weighted by length they are the same.
    pairs = random_completions(8, 0)
    policy, _, lengths = pair_parts(pairs, torch.zeros(8))
    values, _ = nll_loss(policy.chosen, lengths.chosen)
    ours, _ = combine([Term("nll", values, lengths.chosen, float(lengths.chosen.sum()))])
    assert_equal(ours, trl_stub.dpo_loss(pairs, torch.zeros(8), "sft", beta=1.0), pairs.leaf)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["kto", "apo_zero_unpaired"])
def test_thumb_losses(kind: str, seed: int) -> None:
    thumbs = random_completions(8, seed)
    reference = thumbs.token_logps.detach().sum(1) + random_like(thumbs.lengths, seed, 3.0)
    up = torch.tensor([True, False, True, True, False, False, True, False])
    mismatched = random_like(thumbs.lengths, seed + 7, 2.0) + 1.0
    logps = thumbs.token_logps.sum(1)
    if kind == "kto":
        z0 = max(mismatched.mean().item(), 0.0)
        values, _ = kto_loss(logps, reference, up, z0, beta=0.1, up_weight=1.0, down_weight=1.33)
    else:
        values, _ = apo_zero_unpaired_loss(logps, reference, up, beta=0.1, up_weight=1.0, down_weight=1.33)
    theirs = trl_stub.kto_loss(thumbs, reference, up, mismatched, kind, beta=0.1, up_weight=1.0, down_weight=1.33)
    assert_equal(values.mean(), theirs, thumbs.leaf)


def reduced(values: Tensor, samples: Completions, how: Reduction, max_length: int = 16) -> Tensor:
    total = total_of(samples.mask, how, max_length=max_length)
    return combine([Term("policy", values, token_weights(samples.mask, how), total)])[0]


def policy_parts(seed: int) -> tuple[Completions, Tensor, Tensor, Tensor]:
    samples = random_completions(8, seed)
    logps = samples.completion_logps.detach()
    old = (logps + random_like(logps, seed, 0.3)) * samples.mask
    reference = (logps + random_like(logps, seed + 1, 0.3)) * samples.mask
    return samples, old, reference, random_like(samples.lengths, seed, 1.0)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("how", "theirs", "ours_more", "theirs_more"),
    [
        ("grpo", "grpo", {"kl_weight": 0.0}, {}),
        ("dapo", "dapo", {"kl_weight": 0.0}, {}),
        ("dr_grpo", "dr_grpo", {"kl_weight": 0.0}, {}),
        ("grpo", "grpo", {"kl_weight": 0.0, "level": "sequence"}, {"level": "sequence"}),
        ("dapo", "dapo", {"kl_weight": 0.04, "kl_kind": "k3"}, {"beta": 0.04, "is_corrected": False}),
        ("dapo", "dapo", {"kl_weight": 0.04}, {"beta": 0.04}),
        ("dapo", "cispo", {"kl_weight": 0.0, "kind": "cispo", "eps_high": 1.2}, {"eps_high": 1.2}),
    ],
)
def test_group_losses(
    how: Reduction, theirs: str, ours_more: dict[str, Any], theirs_more: dict[str, Any], seed: int
) -> None:
    samples, old, reference, advantages = policy_parts(seed)
    values, _ = grpo_loss(samples.completion_logps, old, reference, advantages, samples.mask, **ours_more)
    oracle = trl_stub.grpo_loss(samples, old, reference, advantages, theirs, **({"beta": 0.0} | theirs_more))
    assert_equal(reduced(values, samples, how), oracle, samples.leaf)


@pytest.mark.parametrize("seed", SEEDS)
def test_rloo(seed: int) -> None:
    samples, old, _, advantages = policy_parts(seed)
    values, _ = rloo_loss(
        (samples.completion_logps * samples.mask).sum(1), old.sum(1), advantages, eps_low=0.2, eps_high=0.2
    )
    assert_equal(values.mean(), trl_stub.rloo_loss(samples, old, advantages), samples.leaf)


@pytest.mark.parametrize("with_margin", [True, False])
def test_reward_model(with_margin: bool) -> None:
    chosen, rejected = (
        torch.tensor([0.3, -1.0, 2.0], requires_grad=True),
        torch.tensor([0.5, -1.5, 0.1], requires_grad=True),
    )
    margin = torch.tensor([0.1, 0.5, 0.0])
    values, _ = bradley_terry_loss(chosen, rejected, margin=margin if with_margin else 0.0)
    theirs = trl_stub.reward_loss(chosen, rejected, margin=margin if with_margin else None)
    assert_equal(values.mean(), theirs, chosen, rejected)
