import pytest
import torch
import torch.nn.functional as F

from learner.algorithms.ilql import FEEDBACK_REWARDS, QHeads, expectile_loss, ilql_loss, shifted_logps


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


Q, TARGET = [seeded(2, 3, 5, seed=i) for i in (1, 2)], [seeded(2, 3, 5, seed=i) for i in (3, 4)]
LOGITS = seeded(2, 3, 5, seed=5)
FACTORS = {"gamma": 1.0, "tau": 0.8, "cql": 0.1}
V, ACTIONS = seeded(2, 3, seed=6), torch.tensor([[0, 4, 2], [1, 1, 3]])
REWARDS, MASK = torch.tensor([[0.1, 0.0, 1.0], [0.0, -1.0, 0.0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])


def by_hand(row: int, t: int, gamma: float, tau: float) -> dict[str, float]:
    a, is_last = ACTIONS[row, t], t == MASK[row].sum() - 1
    y = REWARDS[row, t] + (0.0 if is_last else gamma * V[row, t + 1])
    u = min(x[row, t, a] for x in TARGET) - V[row, t]
    return {
        "q": float(sum((x[row, t, a] - y) ** 2 for x in Q)),
        "v": float((tau if u >= 0 else 1 - tau) * u**2),
        "cql": float(sum(-x[row, t].log_softmax(0)[a] for x in Q)),
    }


@pytest.mark.parametrize(("gamma", "tau"), [(1.0, 0.8), (0.9, 0.6)])
def test_loss_by_hand(gamma: float, tau: float) -> None:
    values, metrics = ilql_loss(Q, TARGET, V, ACTIONS, REWARDS, MASK, gamma=gamma, tau=tau, cql=0.3)
    seen = dict.fromkeys(("q", "v", "cql"), 0.0)
    for row, t in MASK.nonzero().tolist():
        parts = by_hand(row, t, gamma, tau)
        expected = parts["q"] + parts["v"] + 0.3 * parts["cql"]
        assert values[row, t].item() == pytest.approx(expected, rel=1e-5)
        seen = {name: seen[name] + parts[name] / 5 for name in seen}
    assert values[1, 2].item() == 0.0
    assert metrics == pytest.approx({f"ilql/{name}": value for name, value in seen.items()}, rel=1e-5)


def test_metrics_of_an_empty_mask_are_zero() -> None:
    _, metrics = ilql_loss(Q, TARGET, V, ACTIONS, REWARDS, MASK * 0, **FACTORS)
    assert metrics == {"ilql/q": 0.0, "ilql/v": 0.0, "ilql/cql": 0.0}


def test_with_a_prior_level_values_are_not_pulled_on_samples_of_the_policy() -> None:
    prior = seeded(1, 1, 5, seed=7).log_softmax(-1)
    pulls, plain = [], []
    for action in range(5):
        for given, found in ((prior, pulls), (None, plain)):
            q = torch.zeros(1, 1, 5, requires_grad=True)
            zero, actions, mask = torch.zeros(1, 1), torch.tensor([[action]]), torch.ones(1, 1)
            loss, _ = ilql_loss([q], [q.detach()], zero, actions, zero, mask, prior=given, gamma=1.0, tau=0.8, cql=1.0)
            loss.sum().backward()
            found.append(q.grad[0, 0])  # type: ignore[index]
    expected = prior.exp()[0, 0]
    torch.testing.assert_close((torch.stack(pulls) * expected[:, None]).sum(0), torch.zeros(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(pulls[2], expected - torch.eye(5)[2])
    assert (torch.stack(plain) * expected[:, None]).sum(0).abs().max() > 0.05


def test_metrics_of_a_single_token_are_its_loss() -> None:
    only = torch.zeros_like(MASK)
    only[0, 0] = 1
    values, metrics = ilql_loss(Q, TARGET, V, ACTIONS, REWARDS, only, **FACTORS | {"cql": 1.0})
    assert metrics["ilql/q"] + metrics["ilql/v"] + metrics["ilql/cql"] == pytest.approx(values.sum().item(), rel=1e-5)


def test_gradients_reach_the_heads_but_not_the_targets() -> None:
    q, target, v = (
        [x.clone().requires_grad_() for x in Q],
        [x.clone().requires_grad_() for x in TARGET],
        V.clone().requires_grad_(),
    )
    values, _ = ilql_loss(q, target, v, ACTIONS, REWARDS, MASK, **FACTORS)
    values.sum().backward()
    assert all(x.grad is None for x in target)
    for leaf in (*q, v):
        assert leaf.grad is not None
        assert leaf.grad[1, 2].abs().max() == 0.0  # beyond the end
        assert leaf.grad[0, 2].abs().max() > 0.0
    expected = torch.zeros(2, 3)  # of V: only its own regression, not the Q targets
    for row, t in MASK.nonzero().tolist():
        u = min(x[row, t, ACTIONS[row, t]] for x in TARGET) - V[row, t]
        expected[row, t] = -2 * (0.8 if u >= 0 else 0.2) * u
    assert v.grad is not None
    torch.testing.assert_close(v.grad, expected)


def test_cql_lowers_tokens_that_were_not_chosen() -> None:
    q = torch.zeros(1, 1, 5, requires_grad=True)
    zero, actions = torch.zeros(1, 1), torch.tensor([[2]])
    ilql_loss([q], [q], zero, actions, zero, torch.ones(1, 1), **FACTORS)[0].sum().backward()
    assert q.grad is not None
    assert q.grad[0, 0].tolist() == pytest.approx([0.02, 0.02, -0.08, 0.02, 0.02])


def test_expectile_loss_weighs_both_sides() -> None:
    assert expectile_loss(torch.tensor([-2.0, 0.0, 3.0]), 0.7).tolist() == pytest.approx([0.3 * 4, 0.0, 0.7 * 9])


def test_decoding_by_hand() -> None:
    logits, q, v = LOGITS[0], Q[0][0], V[0]
    scores = logits.log_softmax(-1) + 2.0 * (q - v[:, None])
    torch.testing.assert_close(shifted_logps(logits, q, v, beta=2.0), scores.log_softmax(-1))
    torch.testing.assert_close(shifted_logps(logits, q, v, beta=0.0), logits.log_softmax(-1))


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


def test_targets_follow_slowly() -> None:
    heads = QHeads(seeded(10, 4))
    before = heads.target[1].weight.clone()
    with torch.no_grad():
        heads.online[1].weight += 1.0
    heads.follow(0.25)
    torch.testing.assert_close(heads.target[1].weight, before + 0.25)
    heads.follow(0.1)
    torch.testing.assert_close(heads.target[1].weight, before + 0.25 + 0.1 * 0.75)


def test_rewards_of_feedback() -> None:
    assert FEEDBACK_REWARDS["thumb_up"] == -FEEDBACK_REWARDS["thumb_down"] == 1.0
    assert FEEDBACK_REWARDS["pair_chosen"] == -FEEDBACK_REWARDS["pair_rejected"] == 0.5
    assert FEEDBACK_REWARDS["corrected"] == -FEEDBACK_REWARDS["original"] == 0.5
