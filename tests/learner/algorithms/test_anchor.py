import pytest
import torch
import torch.nn.functional as F

from learner.algorithms.anchor import TopLogps, forward_kl_loss, top_logps


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def bucketed_kl(base: torch.Tensor, policy: torch.Tensor, k: int) -> torch.Tensor:
    p, q = base.double().softmax(-1), policy.double().softmax(-1)
    kept = p.topk(k).indices
    p, q = ([*x[kept], 1 - x[kept].sum()] for x in (p, q))
    return sum(a * (a / b).log() for a, b in zip(p, q, strict=True))


def test_kl_over_the_kept_tokens_and_the_rest() -> None:
    base, policy = seeded(5, 11), seeded(5, 11, seed=1)
    cached = top_logps(base, k=4)
    values, metrics = forward_kl_loss(policy, cached)
    expected = torch.stack([bucketed_kl(b, p, 4) for b, p in zip(base, policy, strict=True)]).float()
    torch.testing.assert_close(values, expected, atol=1e-5, rtol=1e-5)
    assert metrics == pytest.approx({"anchor/kl": expected.mean().item()}, rel=1e-4)


def test_the_whole_vocabulary_is_the_exact_kl() -> None:
    base, policy = seeded(5, 11), seeded(5, 11, seed=1).requires_grad_()
    cached = top_logps(base, k=64)  # here all 11
    assert cached.ids.shape == (5, 11)
    assert cached.rest.tolist() == [-torch.inf] * 5
    values, _ = forward_kl_loss(policy, cached)
    exact = F.kl_div(policy.log_softmax(-1), base.log_softmax(-1), log_target=True, reduction="none").sum(-1)
    torch.testing.assert_close(values, exact, atol=1e-5, rtol=1e-5)
    values.sum().backward()
    assert policy.grad is not None
    assert policy.grad.isfinite().all()


def test_sixty_four_tokens_are_kept() -> None:
    cached = top_logps(seeded(2, 100), k=64)
    assert cached.ids.shape == (2, 64)
    total = cached.logps.exp().sum(-1) + cached.rest.exp()
    torch.testing.assert_close(total, torch.ones(2))
    assert (cached.logps.diff(dim=-1) <= 0).all()


def test_a_policy_that_equals_the_base_has_no_loss_and_no_gradient() -> None:
    logits = seeded(5, 100).requires_grad_()
    values, _ = forward_kl_loss(logits, top_logps(logits.detach(), k=8))
    values.sum().backward()
    assert values.abs().max() < 1e-6
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6
    assert not top_logps(logits, k=64).logps.requires_grad


def test_a_tiny_rest_does_not_cancel_to_zero() -> None:
    logits = torch.tensor([[30.0, 0.0, 0.0]])  # 1 - sum of the kept would be 0 in float32
    assert top_logps(logits, k=1).rest.item() == pytest.approx(-30 + torch.tensor(2.0).log().item(), rel=1e-5)


def test_values_are_cached_in_any_precision() -> None:
    base = top_logps(seeded(3, 9), k=3)
    rounded = TopLogps(base.ids, base.logps.bfloat16(), base.rest.bfloat16())
    torch.testing.assert_close(forward_kl_loss(seeded(3, 9), rounded)[0], torch.zeros(3), atol=0.02, rtol=0)


def test_no_tokens_have_no_mean() -> None:
    assert forward_kl_loss(torch.zeros(0, 9), top_logps(torch.zeros(0, 9), k=3))[1] == {}
