import math

import pytest
import torch
import torch.nn.functional as F

from learner.algorithms.ilql import FEEDBACK_REWARDS, QHeads, expectile_loss, ilql_loss, shifted_logps


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


Q, TARGET, LOGITS = (
    [seeded(2, 3, 5, seed=i) for i in (1, 2)],
    [seeded(2, 3, 5, seed=i) for i in (3, 4)],
    seeded(2, 3, 5, seed=5),
)
V, ACTIONS = seeded(2, 3, seed=6), torch.tensor([[0, 4, 2], [1, 1, 3]])
REWARDS, MASK = torch.tensor([[0.1, 0.0, 1.0], [0.0, -1.0, 0.0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])


def by_hand(row: int, t: int, gamma: float, tau: float, awac_beta: float, cap: float) -> dict[str, float]:
    a, is_last = ACTIONS[row, t], t == MASK[row].sum() - 1
    y = REWARDS[row, t] + (0.0 if is_last else gamma * V[row, t + 1])
    u = min(x[row, t, a] for x in TARGET) - V[row, t]
    return {
        "q": float(sum((x[row, t, a] - y) ** 2 for x in Q)),
        "v": float((tau if u >= 0 else 1 - tau) * u**2),
        "cql": float(sum(-x[row, t].log_softmax(0)[a] for x in Q)),
        "awac": float(min(math.exp(awac_beta * u), cap) * -LOGITS[row, t].log_softmax(0)[a]),
    }


@pytest.mark.parametrize(("gamma", "tau", "awac_beta", "cap"), [(1.0, 0.8, 0.0, 20.0), (0.9, 0.6, 2.0, 1.5)])
def test_loss_by_hand(gamma: float, tau: float, awac_beta: float, cap: float) -> None:
    values, metrics = ilql_loss(
        Q,
        TARGET,
        V,
        ACTIONS,
        REWARDS,
        MASK,
        logits=LOGITS,
        gamma=gamma,
        tau=tau,
        cql=0.3,
        awac=0.7,
        awac_beta=awac_beta,
        awac_cap=cap,
    )
    seen = dict.fromkeys(("q", "v", "cql", "awac"), 0.0)
    for row, t in MASK.nonzero().tolist():
        parts = by_hand(row, t, gamma, tau, awac_beta, cap)
        expected = parts["q"] + parts["v"] + 0.3 * parts["cql"] + 0.7 * parts["awac"]
        assert values[row, t].item() == pytest.approx(expected, rel=1e-5)
        seen = {name: seen[name] + parts[name] / 5 for name in seen}
    assert values[1, 2].item() == 0.0
    assert metrics == pytest.approx({f"ilql/{name}": value for name, value in seen.items()}, rel=1e-5)


def test_what_is_taken_where_nothing_is_said() -> None:
    plain, metrics = ilql_loss(Q, TARGET, V, ACTIONS, REWARDS, MASK)
    said, _ = ilql_loss(Q, TARGET, V, ACTIONS, REWARDS, MASK, gamma=1.0, tau=0.8, cql=0.1)
    torch.testing.assert_close(plain, said)
    assert set(metrics) == {"ilql/q", "ilql/v", "ilql/cql"}
    full, _ = ilql_loss(Q, TARGET, V, ACTIONS, REWARDS, MASK, logits=LOGITS)
    cloned = -LOGITS.log_softmax(-1).gather(-1, ACTIONS[..., None]).squeeze(-1) * MASK
    torch.testing.assert_close(full - plain, cloned)
    sharp, _ = ilql_loss(Q, TARGET, V - 100.0, ACTIONS, REWARDS, MASK, logits=LOGITS, awac_beta=1.0, gamma=0.0)
    blunt, _ = ilql_loss(Q, TARGET, V - 100.0, ACTIONS, REWARDS, MASK, gamma=0.0)
    torch.testing.assert_close(sharp - blunt, 20.0 * cloned, atol=1e-2, rtol=1e-3)
    assert ilql_loss(Q, TARGET, V, ACTIONS, REWARDS, MASK * 0)[1]["ilql/q"] == 0.0


def test_with_a_prior_level_values_are_pulled_nowhere_on_what_the_policy_says() -> None:
    prior = seeded(1, 1, 5, seed=7).log_softmax(-1)
    pulls, plain = [], []
    for action in range(5):
        for given, found in ((prior, pulls), (None, plain)):
            q = torch.zeros(1, 1, 5, requires_grad=True)
            said, one = torch.tensor([[action]]), torch.ones(1, 1)
            loss, _ = ilql_loss(
                [q], [q.detach()], torch.zeros(1, 1), said, torch.zeros(1, 1), one, prior=given, cql=1.0
            )
            loss.sum().backward()
            found.append(q.grad[0, 0])  # type: ignore[index]
    expected = prior.exp()[0, 0]
    torch.testing.assert_close((torch.stack(pulls) * expected[:, None]).sum(0), torch.zeros(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(pulls[2], expected - torch.eye(5)[2])
    assert (torch.stack(plain) * expected[:, None]).sum(0).abs().max() > 0.05


def test_metrics_of_a_single_token_are_its_loss() -> None:
    only = torch.zeros_like(MASK)
    only[0, 0] = 1
    values, metrics = ilql_loss(Q, TARGET, V, ACTIONS, REWARDS, only, cql=1.0)
    assert metrics["ilql/q"] + metrics["ilql/v"] + metrics["ilql/cql"] == pytest.approx(values.sum().item(), rel=1e-5)


def test_gradients_reach_what_they_should() -> None:
    q, target, v = (
        [x.clone().requires_grad_() for x in Q],
        [x.clone().requires_grad_() for x in TARGET],
        V.clone().requires_grad_(),
    )
    logits = LOGITS.clone().requires_grad_()
    values, _ = ilql_loss(q, target, v, ACTIONS, REWARDS, MASK, logits=logits, awac_beta=1.0)
    values.sum().backward()
    assert all(x.grad is None for x in target)
    for leaf in (*q, v, logits):
        assert leaf.grad is not None
        assert leaf.grad[1, 2].abs().max() == 0.0  # beyond the end
        assert leaf.grad[0, 2].abs().max() > 0.0
    expected = torch.zeros(2, 3)  # of V: only its own regression, not the Q targets and not the advantage weights
    for row, t in MASK.nonzero().tolist():
        u = min(x[row, t, ACTIONS[row, t]] for x in TARGET) - V[row, t]
        expected[row, t] = -2 * (0.8 if u >= 0 else 0.2) * u
    assert v.grad is not None
    torch.testing.assert_close(v.grad, expected)


def test_cql_lowers_tokens_that_were_not_said() -> None:
    q = torch.zeros(1, 1, 5, requires_grad=True)
    action = torch.tensor([[2]])
    ilql_loss([q], [q], torch.zeros(1, 1), action, torch.zeros(1, 1), torch.ones(1, 1))[0].sum().backward()
    assert q.grad is not None
    assert q.grad[0, 0].tolist() == pytest.approx([0.02, 0.02, -0.08, 0.02, 0.02])


def test_expectile_loss_weighs_both_sides() -> None:
    assert expectile_loss(torch.tensor([-2.0, 0.0, 3.0]), 0.7).tolist() == pytest.approx([0.3 * 4, 0.0, 0.7 * 9])


def test_decoding_by_hand() -> None:
    logits, q, v = LOGITS[0], Q[0][0], V[0]
    scores = logits.log_softmax(-1) + 2.0 * (q - v[:, None])
    torch.testing.assert_close(shifted_logps(logits, q, v, beta=2.0, temperature=0.5), (scores / 0.5).log_softmax(-1))
    torch.testing.assert_close(shifted_logps(logits, q, v, beta=0.0, top_k=0), logits.log_softmax(-1))
    cut = shifted_logps(logits, q, v, beta=2.0, top_k=2)
    assert cut.isfinite().sum(-1).tolist() == [2, 2, 2]
    assert (cut.argmax(-1) == scores.argmax(-1)).all()
    torch.testing.assert_close(cut.exp().sum(-1), torch.ones(3))
    assert shifted_logps(logits, q, v, beta=1.0, top_k=1).max(-1).values.tolist() == [0.0] * 3
    wide = seeded(1, 30)
    assert shifted_logps(wide, wide, torch.zeros(1), beta=1.0).isfinite().sum() == 20


def test_heads_have_few_weights_and_start_apart() -> None:
    embeddings, hidden = seeded(100, 8), seeded(3, 8, seed=1)
    heads = QHeads(embeddings)
    assert sum(p.numel() for p in heads.parameters() if p.requires_grad) == 2 * (64 + 8) + 9
    first, second = heads.q(hidden)
    assert first.shape == (3, 100)
    assert heads.v(hidden).tolist() == [0.0] * 3
    assert not torch.equal(first, second)
    torch.testing.assert_close(first, F.linear(hidden, heads.online[0].weight, heads.online[0].bias) @ embeddings.T)
    for ours, theirs in zip(heads.q(hidden), heads.q_target(hidden), strict=True):
        assert torch.equal(ours, theirs)
        assert not theirs.requires_grad
    assert "embeddings" not in heads.state_dict()
    assert torch.equal(QHeads(embeddings, seed=0).q(hidden)[0], first)
    assert not torch.equal(QHeads(embeddings, seed=1).q(hidden)[0], first)
    wide = QHeads(seeded(3, 400))
    assert wide.online[1].weight.std().item() == pytest.approx(0.01 / 20, rel=0.01)
    assert QHeads(seeded(3, 400), initial_scale=1.0).online[1].weight.std().item() == pytest.approx(0.05, rel=0.01)
    assert wide.online[0].bias.abs().max() == 0.0


def test_heads_with_a_rank_are_a_shift_of_the_output_layer() -> None:
    embeddings, hidden = seeded(50, 8), seeded(5, 8, seed=1)
    heads = QHeads(embeddings, rank=3, initial_scale=1.0)
    assert sum(p.numel() for p in heads.parameters() if p.requires_grad) == 2 * (2 * 3 * 8) + 9
    low, high = heads.shift(4.0)
    assert (low.shape, high.shape) == ((6, 8), (50, 6))
    first, second = heads.q_target(hidden)
    torch.testing.assert_close(hidden @ low.T @ high.T, 2.0 * (first + second))
    assert not torch.allclose(first, second, atol=0.1)
    with torch.no_grad():
        for head in heads.online:
            for weight in head.parameters():
                weight += 0.1
    torch.testing.assert_close(heads.shift(4.0), (low, high))  # the targets', which have not followed yet
    one, other = heads.q(hidden)
    torch.testing.assert_close(heads.served(hidden), (one + other) / 2)
    assert heads.served(hidden).requires_grad
    wide = QHeads(seeded(3, 400), rank=100, initial_scale=0.04)
    down, up = wide.online[1].parameters()
    assert down.std().item() == pytest.approx(0.05, rel=0.015)
    assert up.std().item() == pytest.approx(0.004, rel=0.015)
    with pytest.raises(ValueError, match="only heads with a rank"):
        QHeads(embeddings).shift(1.0)


def test_targets_follow_slowly() -> None:
    heads = QHeads(seeded(10, 4))
    before = heads.target[1].weight.clone()
    with torch.no_grad():
        heads.online[1].weight += 1.0
    heads.follow(0.25)
    torch.testing.assert_close(heads.target[1].weight, before + 0.25)
    heads.follow()
    torch.testing.assert_close(heads.target[1].weight, before + 0.25 + 0.005 * 0.75)


def test_rewards_of_feedback() -> None:
    assert FEEDBACK_REWARDS["thumb_up"] == -FEEDBACK_REWARDS["thumb_down"] == 1.0
    assert FEEDBACK_REWARDS["pair_chosen"] == -FEEDBACK_REWARDS["pair_rejected"] == 0.5
    assert FEEDBACK_REWARDS["edited"] == -FEEDBACK_REWARDS["original"] == 0.5
