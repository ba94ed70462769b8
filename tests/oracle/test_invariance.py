"""A loss and its gradient do not depend on how an update is cut, ordered, padded or spread over ranks."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor

from learner.algorithms.dpo import PairLengths, PairLogps
from learner.algorithms.grpo import grpo_loss
from learner.algorithms.ilql import ilql_loss
from learner.algorithms.mixed import Corrections, MixedSettings, Pairs, Thumbs, Totals, mixed_loss, totals_of
from learner.algorithms.ppo import advantages_and_returns, value_loss
from learner.algorithms.reduction import (
    Reduction,
    Term,
    combine,
    sequence_sums,
    summed_over_ranks,
    token_weights,
)
from learner.algorithms.statistics import masked_whiten
from tests.oracle.reductions import total_of

NUM_PAIRS, NUM_THUMBS, NUM_CORRECTIONS, NUM_ANCHORS = 6, 8, 4, 10
SETTINGS = MixedSettings(beta=0.3, nll=0.7, anchor=0.4, correction_nll=0.9)


class Update:
    """A mixed update on a linear model: log-probabilities are features times one parameter vector."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=dtype)

        def lengths(n: int) -> Tensor:
            return torch.randint(1, 9, (n,), generator=generator)

        self.theta = draw(5).requires_grad_()
        self.pair_features, self.pair_reference = draw(2, NUM_PAIRS, 5), draw(2, NUM_PAIRS)
        self.pair_lengths = (lengths(NUM_PAIRS), lengths(NUM_PAIRS))
        self.pair_weights, self.flip_rates = draw(NUM_PAIRS).abs(), draw(NUM_PAIRS).abs().clamp(max=0.4)
        self.thumb_features, self.thumb_reference, self.thumb_lengths = (
            draw(NUM_THUMBS, 5),
            draw(NUM_THUMBS),
            lengths(NUM_THUMBS),
        )
        self.up, self.thumb_weights = draw(NUM_THUMBS) > 0, draw(NUM_THUMBS).abs()
        self.correction_features, self.correction_reference = draw(2, NUM_CORRECTIONS, 5), draw(2, NUM_CORRECTIONS)
        self.correction_lengths = (lengths(NUM_CORRECTIONS), lengths(NUM_CORRECTIONS))
        self.correction_nll, self.num_changed, self.correction_weights = (
            draw(NUM_CORRECTIONS, 5),
            lengths(NUM_CORRECTIONS) * 2,
            draw(NUM_CORRECTIONS).abs(),
        )
        self.anchor_features = draw(NUM_ANCHORS, 5)

    @property
    def totals(self) -> Totals:
        thumbs = list(zip(self.thumb_weights.tolist(), self.up.tolist(), strict=True))
        return totals_of(self.pair_weights.tolist(), thumbs, self.correction_weights.tolist(), NUM_ANCHORS)

    def share(self, pairs: list[int], thumbs: list[int], corrections: list[int], anchors: list[int]) -> Tensor:
        """Return the loss of the micro-batch that holds those examples."""
        p, c = self.pair_features @ self.theta, self.correction_features @ self.theta
        return mixed_loss(
            self.totals,
            SETTINGS,
            pairs=Pairs(
                PairLogps(p[0, pairs], p[1, pairs]),
                PairLogps(self.pair_reference[0, pairs], self.pair_reference[1, pairs]),
                PairLengths(self.pair_lengths[0][pairs], self.pair_lengths[1][pairs]),
                self.flip_rates[pairs],
                self.pair_weights[pairs],
            ),
            thumbs=Thumbs(
                (self.thumb_features @ self.theta)[thumbs],
                self.thumb_reference[thumbs],
                self.thumb_lengths[thumbs],
                self.up[thumbs],
                self.thumb_weights[thumbs],
            ),
            corrections=Corrections(
                PairLogps(c[0, corrections], c[1, corrections]),
                PairLogps(self.correction_reference[0, corrections], self.correction_reference[1, corrections]),
                PairLengths(self.correction_lengths[0][corrections], self.correction_lengths[1][corrections]),
                (self.correction_nll @ self.theta)[corrections],
                self.num_changed[corrections],
                self.correction_weights[corrections],
            ),
            anchor_kl=((self.anchor_features @ self.theta) ** 2)[anchors],
            z0=0.3,
        )[0]

    def result(self, cuts: list[tuple[list[int], list[int], list[int], list[int]]]) -> tuple[float, Tensor]:
        """Return the sum of the micro-batches' losses, and the gradient that their backwards left."""
        self.theta.grad = None
        total = 0.0
        for cut in cuts:
            loss = self.share(*cut)
            loss.backward()
            total += loss.item()
        assert self.theta.grad is not None
        return total, self.theta.grad.clone()


def everything(seed: int | None = None) -> tuple[list[int], list[int], list[int], list[int]]:
    lists = tuple(list(range(n)) for n in (NUM_PAIRS, NUM_THUMBS, NUM_CORRECTIONS, NUM_ANCHORS))
    if seed is not None:
        for x in lists:
            random.Random(seed).shuffle(x)
    return lists  # type: ignore[return-value]


@pytest.mark.parametrize("num_cuts", [2, 3, 7])
def test_micro_batches_add_up(num_cuts: int) -> None:
    update = Update()
    whole, gradient = update.result([everything()])
    parts = [tuple(x[k::num_cuts] for x in everything()) for k in range(num_cuts)]
    total, summed = update.result(parts)  # type: ignore[arg-type]
    assert total == pytest.approx(whole, rel=1e-5)
    torch.testing.assert_close(summed, gradient, atol=1e-6, rtol=1e-5)


def test_order_does_not_matter() -> None:
    update = Update()
    whole, gradient = update.result([everything()])
    total, shuffled = update.result([everything(seed=1)])
    assert total == pytest.approx(whole, rel=1e-6)
    torch.testing.assert_close(shuffled, gradient, atol=1e-6, rtol=1e-5)


def test_twice_the_weight_is_the_example_twice() -> None:
    twice, doubled = Update(torch.float64), Update(torch.float64)
    doubled.pair_weights = doubled.pair_weights.clone()
    doubled.pair_weights[2] *= 2
    extra = everything()[0] + [2]
    twice_totals = twice.totals
    weight = twice.pair_weights[2].item()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Update,
            "totals",
            Totals(twice_totals.feedback + weight, twice_totals.nll + weight, twice_totals.anchor_tokens),
        )
        value, gradient = twice.result([(extra, *everything()[1:])])
    expected, expected_gradient = doubled.result([everything()])
    assert value == pytest.approx(expected)
    torch.testing.assert_close(gradient, expected_gradient)


def test_a_micro_batch_of_nothing_but_weightless_rows_has_a_gradient_of_zero() -> None:
    update = Update()
    update.pair_weights = torch.zeros(NUM_PAIRS)
    update.thumb_weights, update.correction_weights = torch.zeros(NUM_THUMBS), torch.zeros(NUM_CORRECTIONS)
    value, gradient = update.result([(*everything()[:3], [])])
    assert value == 0.0
    assert gradient.tolist() == [0.0] * 5


# ---- padding


def padded(x: Tensor, extra: int, fill: float) -> Tensor:
    return torch.cat([x, torch.full((x.size(0), extra, *x.shape[2:]), fill, dtype=x.dtype)], 1)


def token_case() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = (torch.arange(6) < torch.tensor([6, 2, 4])[:, None]).float()
    draw = {
        name: torch.randn(3, 6, generator=generator) * mask
        for name in ("logps", "old", "reference", "rewards", "values")
    }
    return draw | {"mask": mask, "advantages": torch.randn(3, generator=generator)}


@pytest.mark.parametrize("how", ["grpo", "dapo", "dr_grpo"])
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_padding_does_not_reach_the_policy_loss(how: Reduction, level: Any) -> None:
    case = token_case()

    def loss(extra: int, fill: float) -> tuple[Tensor, Tensor]:
        leaf = case["logps"].clone().requires_grad_()
        logps, old, reference = (
            padded(leaf, extra, fill),
            padded(case["old"], extra, fill / 2),
            padded(case["reference"], extra, fill),
        )
        mask = padded(case["mask"], extra, 0.0)
        values, metrics = grpo_loss(logps, old, reference, case["advantages"], mask, level=level)
        total = total_of(mask, how, max_length=20)
        value, _ = combine([Term("policy", values, token_weights(mask, how), total)])
        (gradient,) = torch.autograd.grad(value, leaf)
        return torch.stack([value.detach(), *(torch.tensor(m) for m in metrics.values())]), gradient * case["mask"]

    for a, b in zip(loss(0, 0.0), loss(4, 1.7), strict=True):
        torch.testing.assert_close(a, b)


def test_padding_does_not_reach_advantages_values_or_ilql() -> None:
    case = token_case()
    mask, wide = case["mask"], padded(case["mask"], 3, 0.0)
    advantages, returns = advantages_and_returns(case["rewards"], case["values"], mask)
    for a, b in zip(
        (advantages, returns),
        advantages_and_returns(padded(case["rewards"], 3, 5.0), padded(case["values"], 3, -4.0), wide),
        strict=True,
    ):
        torch.testing.assert_close(padded(a, 3, 0.0), b)
    torch.testing.assert_close(
        padded(masked_whiten(advantages, mask), 3, 0.0), masked_whiten(padded(advantages, 3, 9.0), wide)
    )
    loss, metrics = value_loss(case["values"], case["old"], returns, mask, clip=0.2)
    more, more_metrics = value_loss(
        padded(case["values"], 3, 2.0), padded(case["old"], 3, 1.0), padded(returns, 3, 3.0), wide, clip=0.2
    )
    torch.testing.assert_close(padded(loss, 3, 0.0), more)
    assert more_metrics == pytest.approx(metrics, rel=1e-5)
    q = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(1))
    actions = torch.ones(3, 6, dtype=torch.long)
    narrow, _ = ilql_loss([q], [q], case["values"], actions, case["rewards"], mask, gamma=1.0, tau=0.8, cql=0.1)
    tall = padded(q, 3, 7.0)
    broad, _ = ilql_loss(
        [tall],
        [tall],
        padded(case["values"], 3, 8.0),
        torch.ones(3, 9, dtype=torch.long),
        padded(case["rewards"], 3, 2.0),
        wide,
        gamma=1.0,
        tau=0.8,
        cql=0.1,
    )
    torch.testing.assert_close(padded(narrow, 3, 0.0), broad)


def test_packed_tokens_sum_to_the_padded_rows() -> None:
    case = token_case()
    rows, columns = case["mask"].nonzero(as_tuple=True)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(3))
    packed = sequence_sums(case["logps"][rows, columns][order], rows[order], 4)
    torch.testing.assert_close(packed, torch.cat([case["logps"].sum(1), torch.zeros(1)]))


# ---- ranks


def on_rank(rank: int, folder: str) -> None:
    """Run one of two ranks on unequal halves of the update and add the gradients; rank 0 writes the result."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    update = Update(torch.float64)
    mine = tuple(x[:1] if rank == 0 else x[1:] for x in everything())
    value, gradient = update.result([mine])  # type: ignore[list-item]
    advantages = torch.arange(12, dtype=torch.float64).view(4, 3)
    rows = slice(0, 1) if rank == 0 else slice(1, 4)
    whitened = masked_whiten(advantages[rows], torch.ones(4, 3)[rows])
    everyone = torch.zeros(4, 3, dtype=torch.float64)
    everyone[rows] = whitened
    result = [summed_over_ranks(x) for x in (torch.tensor(value, dtype=torch.float64), gradient, everyone)]
    if rank == 0:
        torch.save(result, f"{folder}/result.pt")
    torch.distributed.destroy_process_group()


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    mp.spawn(on_rank, args=(str(tmp_path),), nprocs=2)
    value, gradient, whitened = torch.load(tmp_path / "result.pt")
    expected, expected_gradient = Update(torch.float64).result([everything()])
    assert value.item() == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        whitened, masked_whiten(torch.arange(12, dtype=torch.float64).view(4, 3), torch.ones(4, 3)), atol=1e-6, rtol=0
    )


def test_one_process_sums_over_itself() -> None:
    x = torch.tensor([1.0, 2.0])
    assert summed_over_ranks(x) is x
