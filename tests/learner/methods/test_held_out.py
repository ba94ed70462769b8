"""The fit to held-out feedback as the guards see it, and the rise of its loss that stops an update."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from learner.data.algorithm_examples import for_algorithm
from learner.data.plan import Plan
from learner.methods.guards import Guards
from learner.model.anchors import with_distributions
from learner.model.reference import Reference
from learner.model.resident import Resident
from learner.model.scoring import completion_sums
from learner.settings import LearnerSettings
from tests.learner.test_update import run_of
from tests.learner.world import World

Build = Callable[..., LearnerSettings]


def test_weights_that_were_put_back_leave_no_loss_behind(
    world: World, make_settings: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.likes_short(16)
    settings = make_settings(beta=1.0, max_kl=1.0)
    resident = Resident(settings)
    resident.become(None, 11)
    examples = world.material(resident, run_of(settings)).new
    reference = Reference(resident, settings.token_budget)
    reference.learn(examples, 0, 11)
    drift = with_distributions(resident.model, [((1, 4, 20, 2, 5), (50, 2))])
    guards = Guards(resident, Plan((), tuple(examples), (), 0), reference, drift, settings)
    at_start, rises, kls = (
        reference.sums(examples),
        iter([0.0, 0.3, 0.6]),
        iter([4.0, 2.0, 0.5]),
    )
    monkeypatch.setattr(
        "learner.methods.held_out.completion_sums",
        lambda *_: at_start + next(rises) * torch.tensor([0.0, 1.0]).repeat(16),
    )
    monkeypatch.setattr("learner.methods.guards.drift_per_completion", lambda *_: next(kls))
    assert [bool(guards.look()[1]) for _ in range(3)] == [True, True, False]
    assert guards.moved


def test_thumbs_are_held_out_too(world: World, make_settings: Build) -> None:
    world.likes_short(8)
    settings = make_settings(algorithm="kto")
    resident = Resident(settings)
    resident.become(None, 11)
    thumbs = for_algorithm(world.material(resident, run_of(settings)).new, "kto")
    reference = Reference(resident, settings.token_budget)
    reference.learn(thumbs, 0, 11)
    with torch.no_grad():
        for name, parameter in resident.trainable():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    h = completion_sums(
        resident.model, [(thumb.prompt_ids, thumb.completions[0].ids) for thumb in thumbs], 4096
    ) - reference.sums(thumbs)
    up = torch.tensor([thumb.up for thumb in thumbs])
    h = h - (h[up].mean() + h[~up].mean()) / 2  # all completions alike becoming less likely is no evidence
    margins = torch.where(up, h, -h)
    seen, _ = Guards(resident, Plan((), tuple(thumbs), (), 0), reference, [], settings).look()
    assert seen["held_out/margin"] == pytest.approx(margins.mean().item(), abs=1e-4)
    assert seen["held_out/accuracy"] == pytest.approx((margins > 0).double().mean().item(), abs=1e-4)
    assert seen["held_out/loss"] == pytest.approx(
        -torch.nn.functional.logsigmoid(0.1 * margins).mean().item(), abs=1e-4
    )
    praise = tuple(thumb for thumb in thumbs if thumb.up)
    assert "held_out/loss" not in Guards(resident, Plan((), praise, (), 0), reference, [], settings).look()[0]


def test_held_out_pairs_count_for_the_guards_and_the_gate_as_much_as_they_weigh(
    world: World, make_settings: Build
) -> None:
    world.likes_short(16)
    settings = make_settings()
    resident = Resident(settings)
    resident.become(None, 11)
    examples = world.material(resident, run_of(settings)).new
    reference = Reference(resident, settings.token_budget)
    reference.learn(examples, 0, 11)
    with torch.no_grad():
        for name, parameter in resident.trainable():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))

    def margin(weights: list[float]) -> float:
        held_out = tuple(
            replace(example, example_weight=weight) for example, weight in zip(examples, weights, strict=True)
        )
        return Guards(resident, Plan((), held_out, (), 0), reference, [], settings).look()[0]["held_out/margin"]

    each = [margin([float(index == number) for index in range(16)]) for number in range(16)]
    assert max(each) - min(each) > 0.01
    assert margin([1.0] * 16) == pytest.approx(sum(each) / 16, abs=1e-4)
    weights = [float(number) for number in range(16)]
    assert margin(weights) == pytest.approx(
        sum(weight * one for weight, one in zip(weights, each, strict=True)) / sum(weights), abs=1e-4
    )


@pytest.mark.parametrize(
    ("rise", "stops"),
    [
        (lambda n: 0.3, True),  # all of them
        (lambda n: 0.3 if n < 9 else 0.0, True),  # most
        (lambda n: 0.3 if n < 9 else -0.35, False),  # some up and some down, a little more up: chance
        (lambda n: 3.0 if n == 0 else 0.0, False),  # one pair alone
    ],
)
def test_a_rise_on_held_out_pairs_stops_an_update_where_it_is_no_chance(
    world: World, make_settings: Build, monkeypatch: pytest.MonkeyPatch, rise: Callable[[int], float], stops: bool
) -> None:
    world.likes_short(16)
    settings = make_settings(beta=1.0)
    resident = Resident(settings)
    resident.become(None, 11)
    examples = world.material(resident, run_of(settings)).new
    reference = Reference(resident, settings.token_budget)
    reference.learn(examples, 0, 11)
    guards = Guards(resident, Plan((), tuple(examples), (), 0), reference, [], settings)
    looks, at_start = [0], reference.sums(examples)

    def sums(
        *_: object,
    ) -> torch.Tensor:  # the rejected completions, every second one, become likelier from look to look
        moved = at_start.clone()
        moved[1::2] += looks[0] * torch.tensor([rise(number) for number in range(16)])
        return moved

    monkeypatch.setattr("learner.methods.held_out.completion_sums", sums)
    reasons, losses = [], []
    for look in range(3):
        looks[0] = look
        seen, reason = guards.look()
        reasons.append(reason)
        losses.append(seen["held_out/loss"])
    assert losses[0] < losses[1] < losses[2]
    assert reasons[:2] == ["", ""]
    assert ("the loss on held-out feedback rose twice" in reasons[2]) == stops
