"""Losses against closed forms and sums by hand: GAE, KL gradients, and optima on tables."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from learner.algorithms.dpo import PairLengths, PairLogps, pair_loss, sigmoid_loss
from learner.algorithms.ilql import TabularQ, expectile_loss, ilql_loss, shifted_logps
from learner.algorithms.kl import KlKind, kl_estimate
from learner.algorithms.kto import kto_loss
from learner.algorithms.ppo import advantages_and_returns
from learner.algorithms.surrogate import surrogate_loss

F64 = torch.float64


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


# ---- GAE


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.7), (0.99, 1.0), (0.8, 0.0)])
def test_advantages_equal_the_sum_over_all_later_tokens(gamma: float, lam: float) -> None:
    rewards, values = seeded(5, 7), seeded(5, 7, seed=1)
    lengths = [7, 4, 1, 6, 3]
    mask = torch.tensor([[1.0 if t < n else 0.0 for t in range(7)] for n in lengths], dtype=F64)
    expected = torch.zeros(5, 7, dtype=F64)
    for i, n in enumerate(lengths):
        for t in range(n):
            for k in range(t, n):
                following = values[i, k + 1] if k + 1 < n else 0.0
                expected[i, t] += (gamma * lam) ** (k - t) * (rewards[i, k] + gamma * following - values[i, k])
    advantages, returns = advantages_and_returns(rewards, values, mask, gamma=gamma, lam=lam)
    torch.testing.assert_close(advantages, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(returns, (expected + values) * mask, atol=1e-12, rtol=0)


def test_advantages_at_both_ends_of_lambda() -> None:
    rewards, values, mask = seeded(2, 5), seeded(2, 5, seed=1), torch.ones(2, 5, dtype=F64)
    _, monte_carlo = advantages_and_returns(rewards, values, mask, gamma=1.0, lam=1.0)
    torch.testing.assert_close(monte_carlo, rewards.flip(1).cumsum(1).flip(1))
    one_step, _ = advantages_and_returns(rewards, values, mask, gamma=0.9, lam=0.0)
    torch.testing.assert_close(one_step, rewards + 0.9 * F.pad(values[:, 1:], (0, 1)) - values)


# ---- KL


def exact_kl(logits: Tensor, reference_logits: Tensor) -> Tensor:
    """Return KL(policy || reference) per position, (M,), in nats, summed over the vocabulary of both logits (M, V)."""
    logps, reference = logits.log_softmax(-1), reference_logits.log_softmax(-1)
    return (logps.exp() * (logps - reference)).sum(-1)


def kl_gradients(kind: KlKind) -> tuple[Tensor, Tensor, Tensor]:
    """Return the estimator's expected gradient over a 6-way softmax, and those of both exact KLs."""
    theta = seeded(6).requires_grad_()
    reference = seeded(6, seed=1).log_softmax(0)
    logps = theta.log_softmax(0)
    sampled = logps.exp().detach()
    estimate = (sampled * kl_estimate(logps, reference, kind, old_logps=logps.detach())).sum()
    reverse = exact_kl(theta[None], reference[None])[0]
    forward = (reference.exp() * (reference - logps)).sum()
    mine, back, ahead = (torch.autograd.grad(x, theta, retain_graph=True)[0] for x in (estimate, reverse, forward))
    return mine, back, ahead


def test_gradient_of_k1_is_zero() -> None:
    mine, _, _ = kl_gradients("k1")
    torch.testing.assert_close(mine, torch.zeros_like(mine), atol=1e-14, rtol=0)


@pytest.mark.parametrize("kind", ["k2", "corrected_k3"])
def test_gradient_of_k2_and_corrected_k3_is_that_of_the_kl(kind: KlKind) -> None:
    mine, reverse, _ = kl_gradients(kind)
    torch.testing.assert_close(mine, reverse, atol=1e-14, rtol=0)


def test_gradient_of_k3_is_that_of_the_other_kl() -> None:
    mine, reverse, forward = kl_gradients("k3")
    torch.testing.assert_close(mine, forward, atol=1e-14, rtol=0)
    assert (mine - reverse).abs().max() > 0.01


@pytest.mark.parametrize("kind", ["k1", "k3", "corrected_k3"])
def test_values_are_unbiased(kind: KlKind) -> None:
    logps, reference = seeded(6).log_softmax(0), seeded(6, seed=1).log_softmax(0)
    estimate = (logps.exp() * kl_estimate(logps, reference, kind, old_logps=logps)).sum()
    torch.testing.assert_close(estimate, exact_kl(logps[None], reference[None])[0])


# ---- limits on tables


def minimized(loss, size: int = 6) -> Tensor:
    """Return log-probabilities of the softmax over `size` arms that minimizes `loss(logps)`."""
    theta = torch.zeros(size, dtype=F64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [theta], max_iter=1000, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(theta.log_softmax(0))
        value.backward()
        return value

    optimizer.step(closure)
    return theta.detach().log_softmax(0)


def test_dpo_optimum_is_the_reference_tilted_by_reward() -> None:
    rewards, reference, beta = seeded(6), seeded(6, seed=1).log_softmax(0), 0.3
    i, j = torch.triu_indices(6, 6, 1)
    prefers_i = torch.sigmoid(rewards[i] - rewards[j])

    def population_loss(logps: Tensor) -> Tensor:
        ref = PairLogps(reference[i], reference[j])
        one = sigmoid_loss(PairLogps(logps[i], logps[j]), ref, beta=beta)
        other = sigmoid_loss(PairLogps(logps[j], logps[i]), PairLogps(reference[j], reference[i]), beta=beta)
        return (prefers_i * one + (1 - prefers_i) * other).mean()

    optimum = minimized(population_loss)
    torch.testing.assert_close(optimum, (reference + rewards / beta).log_softmax(0), atol=1e-4, rtol=0)


@pytest.mark.parametrize("flip_rate", [0.05, 0.3])
def test_conservative_optimum_has_the_margin_of_the_flip_rate(flip_rate: float) -> None:
    reference, beta = seeded(2).log_softmax(0), 0.5

    def loss(logps: Tensor) -> Tensor:
        return sigmoid_loss(
            PairLogps(logps[:1], logps[1:]), PairLogps(reference[:1], reference[1:]), beta=beta, flip_rate=flip_rate
        ).mean()

    h = minimized(loss, 2) - reference
    assert beta * (h[0] - h[1]).item() == pytest.approx(
        torch.tensor((1 - flip_rate) / flip_rate).log().item(), abs=1e-4
    )


def test_robust_dpo_on_flipped_labels_is_dpo_on_clean_ones() -> None:
    policy, reference = PairLogps(seeded(9), seeded(9, seed=1)), PairLogps(seeded(9, seed=2), seeded(9, seed=3))
    lengths, eps = PairLengths(torch.ones(9), torch.ones(9)), 0.2
    right, _ = pair_loss("robust", policy, reference, lengths, beta=0.3, flip_rate=eps)
    wrong, _ = pair_loss(
        "robust", PairLogps(*policy[::-1]), PairLogps(*reference[::-1]), lengths, beta=0.3, flip_rate=eps
    )
    torch.testing.assert_close((1 - eps) * right + eps * wrong, sigmoid_loss(policy, reference, beta=0.3))


def test_ipo_optimum_has_the_margin_of_tau() -> None:
    reference, tau, n = seeded(2).log_softmax(0), 0.4, torch.tensor([3.0], dtype=F64)

    def loss(logps: Tensor) -> Tensor:
        return pair_loss(
            "ipo", PairLogps(logps[:1], logps[1:]), PairLogps(reference[:1], reference[1:]), PairLengths(n, n), beta=tau
        )[0].mean()

    h = minimized(loss, 2) - reference
    assert (h[0] - h[1]).item() / 3 == pytest.approx(1 / (2 * tau), abs=1e-4)


def test_a_bandit_learns_its_best_arm() -> None:
    arms = torch.tensor([0.2, 0.5, 0.9], dtype=F64)
    theta = torch.zeros(3, dtype=F64, requires_grad=True)
    optimizer = torch.optim.SGD([theta], lr=0.5)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        drawn = torch.multinomial(theta.detach().softmax(0), 64, replacement=True, generator=generator)
        logps = theta.log_softmax(0)[drawn][:, None]
        values, _ = surrogate_loss(logps, logps.detach(), arms[drawn] - arms[drawn].mean(), torch.ones(64, 1))
        optimizer.zero_grad()
        values.mean().backward()
        optimizer.step()
    assert theta.softmax(0)[2] > 0.95


def test_kto_raises_thumbs_up_and_lowers_thumbs_down() -> None:
    reference = torch.full((4,), 0.25, dtype=F64).log()
    theta = torch.zeros(4, dtype=F64, requires_grad=True)
    up = torch.tensor([True, True, False, False])
    for _ in range(300):
        values, _ = kto_loss(theta.log_softmax(0), reference, up, 0.0, beta=1.0)
        (gradient,) = torch.autograd.grad(values.mean(), theta)
        theta = (theta - 2.0 * gradient).detach().requires_grad_()
    probabilities = theta.softmax(0)
    assert probabilities[:2].sum() > 0.9
    assert probabilities[0].item() == pytest.approx(probabilities[1].item())


# ---- ILQL to Q-learning

DEPTH, NUM_ACTIONS = 3, 2
COMPLETIONS = list(itertools.product(range(NUM_ACTIONS), repeat=DEPTH))
REWARD = {actions: 1.0 if actions == (1, 0, 1) else 0.3 if actions[0] == 0 else 0.0 for actions in COMPLETIONS}
STATES = [state for depth in range(DEPTH) for state in itertools.product(range(NUM_ACTIONS), repeat=depth)]
ROW = {state: row for row, state in enumerate(STATES)}


def episodes() -> tuple[Tensor, Tensor, Tensor]:
    """Return all completions as (rows of the states, actions, rewards), each (8, 3)."""
    rows = torch.tensor([[ROW[actions[:t]] for t in range(DEPTH)] for actions in COMPLETIONS])
    rewards = torch.zeros(len(COMPLETIONS), DEPTH, dtype=F64)
    rewards[:, -1] = torch.tensor([REWARD[actions] for actions in COMPLETIONS], dtype=F64)
    return rows, torch.tensor(COMPLETIONS), rewards


def table_loss(q: Tensor, v: Tensor, tau: float, gamma: float = 1.0) -> Tensor:
    rows, actions, rewards = episodes()
    values, _ = ilql_loss(
        [q[rows], q[rows]],
        [q[rows].detach()] * 2,
        v[rows],
        actions,
        rewards,
        torch.ones(len(COMPLETIONS), DEPTH),
        tau=tau,
        gamma=gamma,
        cql=0.0,
    )
    return values.sum()


def learned_by_ilql(tau: float, gamma: float = 1.0, num_steps: int = 40) -> tuple[Tensor, Tensor]:
    """Return the tables Q and V where the loss's gradient is zero, with its targets held.

    Newton steps find it, since the Hessian is diagonal on a table.
    """
    q = torch.zeros(len(STATES), NUM_ACTIONS, dtype=F64, requires_grad=True)
    v = torch.zeros(len(STATES), dtype=F64, requires_grad=True)
    for _ in range(num_steps):
        slopes = torch.autograd.grad(table_loss(q, v, tau, gamma), (q, v), create_graph=True)
        curves = torch.autograd.grad(sum(slope.sum() for slope in slopes), (q, v))
        q, v = (
            (x - slope / curve).detach().requires_grad_()
            for x, slope, curve in zip((q, v), slopes, curves, strict=True)
        )
    assert all(slope.abs().max() < 1e-9 for slope in slopes)
    return q.detach(), v.detach()


def learned_by_table(gamma: float = 1.0, alpha: float = 0.5, num_rounds: int = 60) -> TabularQ:
    table = TabularQ(NUM_ACTIONS)
    for _ in range(num_rounds):
        for actions in COMPLETIONS:
            for t in range(DEPTH):
                is_last = t == DEPTH - 1
                table.learn(
                    actions[:t],
                    actions[t],
                    REWARD[actions] if is_last else 0.0,
                    alpha=alpha,
                    gamma=gamma,
                    is_last=is_last,
                )
    return table


def best_return(state: tuple[int, ...], gamma: float) -> float:
    """Return the best discounted reward from a state on, by exhaustion."""
    return max(
        gamma ** (DEPTH - len(state) - 1) * REWARD[actions] for actions in COMPLETIONS if actions[: len(state)] == state
    )


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_tabular_update_finds_the_best_return(gamma: float) -> None:
    table = learned_by_table(gamma)
    for state in STATES:
        assert max(table.values(state)) == pytest.approx(best_return(state, gamma), abs=1e-9)


def test_tabular_update_is_that_of_the_paper() -> None:
    table = TabularQ(2)
    assert table.values((7,)) == [0.0, 0.0]
    assert table.learn((3, 1), 0, 0.5, alpha=0.1, is_last=True) == pytest.approx(0.05)
    # s' = s + a: learning the action 1 in state (3,) looks at the state (3, 1), whose best action is worth 0.05.
    assert table.learn((3,), 1, 0.2, alpha=0.1, gamma=0.9) == pytest.approx(0.1 * (0.2 + 0.9 * 0.05))
    first = table.values((3,))[1]
    assert table.learn((3,), 1, 0.2, alpha=0.1, gamma=0.9) == pytest.approx(first + 0.1 * (0.2 + 0.9 * 0.05 - first))
    assert table.learn((3, 1), 0, 1.0, alpha=1.0, is_last=True) == 1.0
    assert table.learn((3, 1), 1, 1.0, alpha=0.5) == 0.5  # an unknown state is worth 0
    assert table.learn((3,), 1, 0.0, alpha=1.0) == 1.0  # the default gamma is 1


@pytest.mark.parametrize("gamma", [1.0, 0.7])
def test_a_gradient_step_on_a_table_is_the_tabular_update(gamma: float) -> None:
    # The paper's update with rate alpha is one step of size alpha/2 on (Q - y)^2, if V(s') is max_a Q(s', a).
    alpha, table = 0.3, TabularQ(NUM_ACTIONS)
    q = torch.zeros(len(STATES), NUM_ACTIONS, dtype=F64)
    for actions in COMPLETIONS * 3:
        for t in reversed(range(DEPTH)):
            is_last = t == DEPTH - 1
            table.learn(
                actions[:t], actions[t], REWARD[actions] if is_last else 0.0, alpha=alpha, gamma=gamma, is_last=is_last
            )
            leaf = q.clone().requires_grad_()
            rows = torch.tensor([[ROW[actions[: t + k]] for k in range(1 if is_last else 2)]])
            mask = torch.ones(1, rows.size(1), dtype=F64)
            rewards = torch.zeros_like(mask)
            rewards[0, 0] = REWARD[actions] if is_last else 0.0
            values, _ = ilql_loss(
                [leaf[rows]],
                [q[rows]],
                q[rows].amax(-1),
                torch.tensor([actions[t : t + rows.size(1)]]),
                rewards,
                mask,
                cql=0.0,
                gamma=gamma,
                tau=0.5,
            )
            (gradient,) = torch.autograd.grad(values[0, 0], leaf)
            q = q - alpha / 2 * gradient
    for state in STATES:
        assert q[ROW[state]].tolist() == pytest.approx(table.values(state), abs=1e-12)


def test_ilql_rises_from_the_mean_to_the_maximum_with_tau() -> None:
    roots = {}
    for tau in (0.5, 0.8, 0.99):
        _, v = learned_by_ilql(tau)
        roots[tau] = v[0].item()
    assert roots[0.5] == pytest.approx(sum(REWARD.values()) / len(COMPLETIONS), abs=1e-9)
    assert roots[0.5] < roots[0.8] < roots[0.99] < 1.0
    assert [round(roots[0.8], 3), round(roots[0.99], 3)] == [0.572, 0.973]


def test_ilql_becomes_q_learning_as_tau_goes_to_one() -> None:
    q, v = learned_by_ilql(0.999)
    assert v[0].item() == pytest.approx(1.0, abs=0.01)
    state: tuple[int, ...] = ()
    for _ in range(DEPTH):
        state = (*state, int(q[ROW[state]].argmax()))
    assert state == (1, 0, 1)


def test_decoding_shifts_towards_better_tokens() -> None:
    q, v = learned_by_ilql(0.9)
    base = torch.zeros(1, NUM_ACTIONS, dtype=F64)
    for state, best in [((), 1), ((1,), 0), ((1, 0), 1)]:
        row = slice(ROW[state], ROW[state] + 1)
        assert shifted_logps(base, q[row], v[row], beta=4.0)[0, best] > torch.tensor(0.5, dtype=F64).log()


@pytest.mark.parametrize("tau", [0.5, 0.7, 0.9])
def test_expectile_is_the_root_of_its_equation(tau: float) -> None:
    samples = seeded(50)
    low, high = samples.min().item(), samples.max().item()
    for _ in range(60):  # the expectile m solves tau E[(x - m)+] = (1 - tau) E[(m - x)+]
        middle = (low + high) / 2
        above, below = (samples - middle).clamp(min=0).mean(), (middle - samples).clamp(min=0).mean()
        low, high = (middle, high) if tau * above > (1 - tau) * below else (low, middle)
    grid = torch.linspace(middle - 0.5, middle + 0.5, 1001, dtype=F64)
    losses = torch.stack([expectile_loss(samples - m, tau).mean() for m in grid])
    assert grid[losses.argmin()].item() == pytest.approx(middle, abs=2e-3)
