"""One step of the mixed update on a real tiny model: each kind alone is its algorithm, and weights are counts."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from learner.algorithms.dpo import PairLogps, sigmoid_loss
from learner.algorithms.kto import kto_loss
from learner.algorithms.mixed import MixedSettings
from learner.data.algorithm_examples import for_algorithm
from learner.data.examples import CompletionTokens, Example
from learner.methods.mismatched_completions import MismatchedCompletions
from learner.methods.steps import backward, mixed_settings, step_totals
from learner.model.anchors import with_distributions
from learner.model.reference import Reference
from learner.model.resident import Resident
from learner.model.scoring import completion_sums, score
from learner.settings import LearnerSettings

PLAIN = MixedSettings(nll=0.0, anchor=0.0)
PAIRS = [
    Example(
        "pair",
        (1, 4, 20 + n, 2, 5),
        CompletionTokens((50 + n, 2)),
        CompletionTokens((60, 61 + n, 62, 2)),
        "ann",
        (f"p{n}",),
        n,
        example_weight=1.0 + 0.5 * n,
    )
    for n in range(3)
]
THUMBS = [
    Example(
        "thumb",
        (1, 4, 30 + n, 2, 5),
        CompletionTokens((70 + n, 2)) if n % 2 else None,
        None if n % 2 else CompletionTokens((80, 81 + n, 2)),
        "ann",
        (f"t{n}",),
        n,
    )
    for n in range(4)
]
CORRECTIONS = [
    Example(
        "correction",
        (1, 4, 40, 2, 5),
        CompletionTokens((90, 91, 92, 2)),
        CompletionTokens((90, 93, 92, 2)),
        "ann",
        ("e",),
        9,
    )
]


@pytest.fixture(scope="module")
def resident(tiny: object) -> Resident:
    made = Resident(LearnerSettings(model=str(tiny), device="cpu"))
    made.become(None, seed=3)
    with torch.no_grad():  # away from the start, where the policy equals the reference
        for name, parameter in made.trainable():
            if "lora_B" in name:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    return made


@pytest.fixture(scope="module")
def reference(resident: Resident) -> Reference:
    made = Reference(resident, 4096)
    with resident.as_base():
        made.learn([*PAIRS, *THUMBS, *CORRECTIONS], live=-1, seed=0)
    return made


def gradients(
    resident: Resident,
    reference: Reference,
    batch: Sequence[Example],
    *,
    trained: Sequence[Example] | None = None,
    mixed: MixedSettings = PLAIN,
    budget: int = 4096,
    z0: float = 0.0,
) -> tuple[float, dict[str, torch.Tensor]]:
    trained = trained if trained is not None else batch
    resident.model.zero_grad(set_to_none=True)
    loss, _ = backward(resident, batch, [], reference, step_totals(trained, len(batch), 0), mixed, budget, z0)
    return loss, {
        name: parameter.grad.clone() for name, parameter in resident.trainable() if parameter.grad is not None
    }


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float = 1e-6) -> bool:
    return one.keys() == other.keys() and all(
        torch.allclose(one[name], other[name], atol=tolerance, rtol=1e-4) for name in one
    )


def test_pairs_alone_are_dpo(resident: Resident, reference: Reference) -> None:
    loss, _ = gradients(resident, reference, PAIRS)
    now = completion_sums(resident.model, [(e.prompt_ids, side.ids) for e in PAIRS for side in e.completions], 4096)
    theirs = reference.sums(PAIRS)
    values = sigmoid_loss(PairLogps(now[0::2], now[1::2]), PairLogps(theirs[0::2], theirs[1::2]), beta=0.1)
    weights = torch.tensor([example.example_weight for example in PAIRS])
    assert loss == pytest.approx(float((weights * values).sum() / weights.sum()), abs=1e-6)
    assert abs(loss - 0.6931) > 1e-3  # the policy is away from the reference, so a swapped side would show


def test_thumbs_alone_are_kto(resident: Resident, reference: Reference) -> None:
    loss, _ = gradients(resident, reference, THUMBS, z0=0.4)
    now = completion_sums(resident.model, [(e.prompt_ids, e.completions[0].ids) for e in THUMBS], 4096)
    values, _ = kto_loss(now, reference.sums(THUMBS), torch.tensor([e.up for e in THUMBS]), 0.4, beta=0.1)
    assert loss == pytest.approx(float(2.0 * values.mean()), abs=1e-6)


def test_a_doubled_weight_is_a_doubled_example(resident: Resident, reference: Reference) -> None:
    batch = [*PAIRS, *THUMBS, *CORRECTIONS]
    heavy = [
        replace(example, example_weight=2 * example.example_weight)
        if example in (PAIRS[0], THUMBS[1], CORRECTIONS[0])
        else example
        for example in batch
    ]
    twice = [*batch, PAIRS[0], THUMBS[1], CORRECTIONS[0]]
    one, other = (gradients(resident, reference, items, mixed=MixedSettings(anchor=0.0)) for items in (heavy, twice))
    assert one[0] == pytest.approx(other[0], abs=1e-6)
    assert same(one[1], other[1])


def test_neither_the_order_nor_the_token_budget_matters(resident: Resident, reference: Reference) -> None:
    batch = [*PAIRS, *THUMBS, *CORRECTIONS]
    whole = gradients(resident, reference, batch, mixed=MixedSettings(anchor=0.0))
    for items, budget in ((batch[::-1], 4096), (batch, 16), ([*CORRECTIONS, *THUMBS, *PAIRS], 30)):
        cut = gradients(resident, reference, items, mixed=MixedSettings(anchor=0.0), budget=budget)
        assert cut[0] == pytest.approx(whole[0], abs=1e-6)
        assert same(cut[1], whole[1])


def test_two_thumbs_on_one_prompt_share_its_row_and_its_gradient(
    resident: Resident, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    thumbs = for_algorithm(PAIRS, "kto")
    rows: list[int] = []
    monkeypatch.setattr(
        "learner.methods.steps.score", lambda model, some: (rows.append(len(some)), score(model, some))[1]
    )
    together = gradients(resident, reference, thumbs)
    assert (len(thumbs), sum(rows)) == (6, 3)
    rows.clear()
    apart = gradients(resident, reference, thumbs, budget=1)  # a budget that holds no two
    assert rows == [1] * 6
    assert same(apart[1], together[1])
    parts = [gradients(resident, reference, [thumb], trained=thumbs) for thumb in thumbs]
    assert sum(loss for loss, _ in parts) / 6 == pytest.approx(together[0], abs=1e-6)
    assert same({name: torch.stack([part[name] for _, part in parts]).mean(0) for name in together[1]}, together[1])


def test_metrics_are_means_over_their_own_kind_however_a_step_is_cut(resident: Resident, reference: Reference) -> None:
    batch = [*PAIRS, *THUMBS, *CORRECTIONS]
    seen = [
        backward(resident, batch, [], reference, step_totals(batch, len(batch), 0), PLAIN, budget, 0.0)[1]
        for budget in (4096, 1, 40)
    ]
    now = completion_sums(
        resident.model, [(e.prompt_ids, side.ids) for e in batch for side in e.completions], 4096
    ) - reference.sums(batch)
    sides = [
        (example, is_good)
        for example in batch
        for is_good, side in ((True, example.good), (False, example.bad))
        if side is not None
    ]

    def mean(kinds: tuple[str, ...], up: bool) -> float:
        return float(
            torch.stack(
                [h for h, (example, good) in zip(now, sides, strict=True) if example.kind in kinds and good == up]
            ).mean()
        )

    for metrics in seen:
        assert metrics["pair/chosen_log_ratio"] == pytest.approx(mean(("pair",), True), abs=1e-5)
        assert metrics["correction/chosen_log_ratio"] == pytest.approx(mean(("correction",), True), abs=1e-5)
        assert metrics["thumb/up_log_ratio"] == pytest.approx(mean(("thumb",), True), abs=1e-5)
        assert metrics["thumb/down_log_ratio"] == pytest.approx(mean(("thumb",), False), abs=1e-5)
        assert metrics["thumb/up_share"] == pytest.approx(0.5)
        assert metrics["good/log_ratio"] == pytest.approx(mean(("pair", "correction", "thumb"), True), abs=1e-5)
    assert (
        "good/log_ratio"
        not in backward(resident, [THUMBS[0]], [], reference, step_totals(batch, 1, 0), PLAIN, 4096, 0.0)[1]
    )


def test_mismatched_completions_fit_the_context_and_are_there_for_kto_alone(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    long, short = (
        replace(THUMBS[1], prompt_ids=(1, *range(10, 40))),
        replace(THUMBS[3], good=CompletionTokens(tuple(range(50, 80)))),
    )
    assert len(MismatchedCompletions.of(resident, [long, short], PLAIN, 0, 4096).rows) == 2
    monkeypatch.setattr(Resident, "context_length", 40)  # each fits, but not the one's completion of the other's prompt
    assert [
        len(prompt) + len(ids) for prompt, ids in MismatchedCompletions.of(resident, [long, short], PLAIN, 0, 4096).rows
    ] == [7]
    for mixed in (MixedSettings(thumb_scale=0.0), MixedSettings(thumb_kind="apo_zero_unpaired")):
        assert MismatchedCompletions.of(resident, [long, short], mixed, 0, 4096).rows == []


def test_the_batches_of_an_update_add_up_to_it(resident: Resident, reference: Reference) -> None:
    whole, expected = gradients(resident, reference, PAIRS)
    parts = [gradients(resident, reference, [example], trained=PAIRS) for example in PAIRS]
    assert sum(loss for loss, _ in parts) / 3 == pytest.approx(whole, abs=1e-6)
    mean = {name: torch.stack([part[name] for _, part in parts]).mean(0) for name in expected}
    assert same(mean, expected)


def test_sft_has_no_preference_terms(resident: Resident, reference: Reference) -> None:
    ups = [example for example in THUMBS if example.up]
    loss, _ = gradients(resident, reference, ups, mixed=mixed_settings(LearnerSettings(algorithm="sft")))
    now = completion_sums(resident.model, [(e.prompt_ids, e.completions[0].ids) for e in ups], 4096)
    lengths = torch.tensor([len(e.completions[0].ids) for e in ups])
    assert loss == pytest.approx(float((-now / lengths).mean()), abs=1e-6)


def test_anchors_pull_towards_the_base_and_are_nothing_at_it(resident: Resident, reference: Reference) -> None:
    with resident.as_base() as model:
        anchors = with_distributions(model, [((1, 4, 20, 2, 5), (50, 51, 2)), ((1, 4, 21, 2, 5), (52, 2))])
        totals = step_totals(PAIRS, 3, 5)
    resident.model.zero_grad(set_to_none=True)
    loss, metrics = backward(resident, [], anchors, reference, totals, MixedSettings(), 4096, 0.0)
    assert metrics["anchor/kl"] > 1e-3
    assert loss == pytest.approx(0.2 * metrics["anchor/kl"], rel=1e-4)
    held = resident.weights()
    resident.put({name: torch.zeros_like(weight) if "lora_B" in name else weight for name, weight in held.items()})
    at_base, _ = backward(resident, [], anchors, reference, totals, MixedSettings(), 4096, 0.0)
    resident.put(held)
    assert at_base == pytest.approx(0.0, abs=1e-6)
