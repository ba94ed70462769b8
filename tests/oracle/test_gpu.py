"""The oracles on CUDA, in bf16 tolerances, and the code of bench/gpu.py.

On a CPU the same code runs with tiny sizes in float32.
"""

import pytest
import torch

from bench.gpu import TINY, DpoStep, PpoStep, measured, random_model
from learner.algorithms.dpo import PairLengths, PairLogps, pair_loss, sigmoid_loss
from learner.algorithms.grpo import grpo_loss
from learner.algorithms.kto import kto_loss
from learner.algorithms.ppo import advantages_and_returns
from policy.logprobs import response_logps
from policy.row_layout import Row

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
ROWS = [Row([5, 6, 7], [[8, 9, 10], [11, 12]]), Row([7, 8], [[13], [14, 15, 16, 17]])]
GROUP = [Row([5, 6, 7], [[8 + n] * (6 + n) for n in range(8)])]  # attended in parts (policy.shared_prefix_attention)


def tolerance(device: str) -> dict[str, float]:
    """Return the tolerances: bf16 weights cost some hundredths of a nat per token, and less in a loss."""
    return {"atol": 1e-5, "rtol": 1e-5} if device == "cpu" else {"atol": 5e-2, "rtol": 5e-2}


@pytest.mark.parametrize("device", DEVICES)
def test_log_probabilities_are_those_of_float32_on_a_cpu(device: str) -> None:
    here, _ = random_model(TINY[0], device, torch.float32 if device == "cpu" else torch.bfloat16)
    known, _ = random_model(TINY[0], "cpu", torch.float32)
    known.load_state_dict({name: weight.float().cpu() for name, weight in here.state_dict().items()})
    torch.testing.assert_close(
        response_logps(here, ROWS).sums().float().cpu(), response_logps(known, ROWS).sums(), **tolerance(device)
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rows", [ROWS, GROUP], ids=["rows", "group"])
def test_packed_rows_are_rows_apart(device: str, rows: list[Row]) -> None:
    model, _ = random_model(TINY[0], device, torch.float32 if device == "cpu" else torch.bfloat16)
    apart = [Row(row.prompt_ids, [branch]) for row in rows for branch in row.branches]
    torch.testing.assert_close(
        response_logps(model, rows).sums(), response_logps(model, apart).sums(), **tolerance(device)
    )


@pytest.mark.parametrize("device", DEVICES)
def test_losses_and_gradients_are_those_of_float64(device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    c, r, rc, rr = (torch.randn(6, generator=generator, dtype=torch.float64) * 3 for _ in range(4))
    lengths = PairLengths(torch.arange(1, 7), torch.arange(2, 8))
    up = torch.arange(6) % 2 == 0

    def value(device: str, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        chosen, rejected = (x.clone().to(device, dtype).requires_grad_() for x in (c, r))
        reference = PairLogps(rc.to(device, dtype), rr.to(device, dtype))
        policy, both = PairLogps(chosen, rejected), PairLengths(*(x.to(device) for x in lengths))
        losses = [
            pair_loss(kind, policy, reference, both, beta=0.3)[0].mean()
            for kind in ("sigmoid", "ipo", "hinge", "simpo")
        ]
        losses.append(kto_loss(chosen, reference.chosen, up.to(device), 0.1, beta=0.3)[0].mean())
        mask = torch.ones(6, 1, device=device)
        token = [x.unsqueeze(1) for x in (chosen, reference.chosen, reference.rejected)]
        losses.append(grpo_loss(*token, rejected.detach(), mask, kl_weight=0.1)[0].mean())
        whole = torch.stack([loss.double() for loss in losses])
        whole.sum().backward()
        assert chosen.grad is not None
        return whole.detach().cpu(), chosen.grad.double().cpu()

    exact, exact_gradient = value("cpu", torch.float64)
    found, gradient = value(device, torch.float32 if device == "cpu" else torch.bfloat16)
    torch.testing.assert_close(found, exact, **tolerance(device))
    torch.testing.assert_close(gradient, exact_gradient, **tolerance(device))


@pytest.mark.parametrize("device", DEVICES)
def test_advantages_are_those_of_float64(device: str) -> None:
    generator = torch.Generator().manual_seed(1)
    rewards, values = (torch.randn(3, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    exact, _ = advantages_and_returns(rewards, values, mask)
    found, _ = advantages_and_returns(rewards.float().to(device), values.float().to(device), mask.to(device))
    torch.testing.assert_close(found.double().cpu(), exact, **tolerance(device))


@pytest.mark.parametrize("device", DEVICES)
def test_a_dpo_step_begins_at_log_two_and_goes_down(device: str) -> None:
    model, frozen = random_model(TINY[0], device, torch.float32 if device == "cpu" else torch.bfloat16)
    step = DpoStep(model, TINY[0])
    for group in step.optimizer.param_groups:
        group["lr"] = 1e-2
    assert step() == pytest.approx(0.693147, abs=tolerance(device)["atol"])
    for _ in range(10):
        last = step()
    assert last < 0.69
    seen = measured(step, frozen, device, 2)
    assert seen["finite"]
    assert seen["items_per_s"] > 0
    assert seen["tokens_per_s"] > seen["items_per_s"]


@pytest.mark.parametrize("device", DEVICES)
def test_a_round_of_ppo_runs(device: str) -> None:
    model, frozen = random_model(TINY[0], device, torch.float32 if device == "cpu" else torch.bfloat16)
    before = [parameter.detach().clone() for parameter in model.parameters() if parameter.requires_grad]
    seen = measured(PpoStep(model, TINY[0]), frozen, device, 2)
    after = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert seen["finite"]
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_the_float_oracle_of_dpo_is_log_two_for_equal_policies() -> None:
    logps = PairLogps(torch.tensor([-5.0]), torch.tensor([-7.0]))
    assert sigmoid_loss(logps, logps, beta=0.1).item() == pytest.approx(0.693147, abs=1e-6)
