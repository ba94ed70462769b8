"""Policy gradients on replies that people judged, from what was recorded when they were sampled."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from learner.data.examples import CompletionTokens, Example
from learner.methods.off_policy import Judged, advantages_of, judged_backward, judged_replies
from learner.methods.on_policy import train_on_policy
from learner.model.resident import Resident
from learner.model.scoring import completion_logps, completion_sums
from learner.settings import LearnerSettings
from tests.learner.methods.test_on_policy import PROMPTS, SMALL, parts

Build = Callable[..., LearnerSettings]
GOOD, BAD = (60, 61, 2), (90, 91, 92, 2)


def fresh(settings: LearnerSettings) -> Resident:
    resident = Resident(settings)
    resident.become(None, 0)
    return resident


def recorded(
    resident: Resident, prompt: tuple[int, ...], ids: tuple[int, ...], *, version: int = 0, off: float = 0.0
) -> CompletionTokens:
    """A reply as the resident weights sampled it; `off` nats per token likelier in the record."""
    return CompletionTokens(
        ids, tuple((completion_logps(resident.model, [(prompt, ids)], 4096)[0] + off).tolist()), version
    )


def thumbs(resident: Resident, **record: float) -> list[Example]:
    """Each prompt's good reply with a thumb up, its bad one with a thumb down."""
    found = []
    for number, prompt in enumerate(PROMPTS):
        for ids, up in ((GOOD, True), (BAD, False)):
            reply = recorded(resident, prompt, ids, **record)  # type: ignore[arg-type]
            found.append(
                Example(
                    "thumb", prompt, reply if up else None, None if up else reply, "ann", (f"f{number}{up}",), number
                )
            )
    return found


def test_advantages_are_against_what_a_rater_usually_says() -> None:
    found = advantages_of(
        [("glad", True, 0.0)] * 3 + [("glad", False, 0.0)] + [("cross", False, 0.0)] * 3 + [("cross", True, 0.0)]
    )
    usual = {"glad": (3 + 4 * 0.5) / 8, "cross": (1 + 4 * 0.5) / 8}
    assert found.tolist() == pytest.approx(
        [1 - usual["glad"]] * 3 + [-usual["glad"]] + [-usual["cross"]] * 3 + [1 - usual["cross"]]
    )
    doubted = advantages_of([("a", True, 0.4), ("a", False, 0.4)])
    assert doubted.tolist() == pytest.approx([0.1, -0.1])  # 0.6 and 0.4 against a usual of a half
    assert advantages_of([]).tolist() == []


def test_what_was_recorded_is_held_against_the_live_version(make_settings: Build) -> None:
    settings = make_settings(algorithm="ppo")
    resident = fresh(settings)
    same = judged_replies(resident, thumbs(resident), 0, settings)
    assert same is not None
    assert (len(same.rows), same.num_dropped) == (12, 0)
    torch.testing.assert_close(same.corrections * same.mask, same.mask, atol=1e-4, rtol=0)
    assert same.advantages.tolist() == pytest.approx([0.5, -0.5] * 6)
    assert same.mask.sum(1).tolist() == [3, 4] * 6
    less = judged_replies(
        resident, thumbs(resident, off=-0.5), 0, settings
    )  # the live version finds them likelier than the one that sampled did
    assert less is not None
    assert (less.corrections * less.mask).max().item() == pytest.approx(1.6487, abs=1e-3)
    uneven = recorded(resident, PROMPTS[0], GOOD)
    assert uneven.logps is not None
    cut = replace(uneven, logps=(uneven.logps[0] - 1.5, *(logp + 0.7 for logp in uneven.logps[1:])))
    one = judged_replies(resident, [Example("thumb", PROMPTS[0], cut, None, "ann", ("f",), 1)], 0, settings)
    assert one is not None
    assert one.corrections[0].tolist() == pytest.approx([2.0, 0.4966, 0.4966], abs=1e-3)  # truncated at two


def test_what_is_far_from_the_live_version_or_has_no_record_is_not_used(make_settings: Build) -> None:
    settings = make_settings(algorithm="ppo")
    resident = fresh(settings)
    items = thumbs(resident)
    for far in (thumbs(resident, off=1.0), thumbs(resident, version=9)):  # a ratio of 0.37 per token; nine versions
        gone = judged_replies(resident, far, 0, settings)
        assert gone is not None
        assert (gone.rows, gone.num_dropped) == ([], 12)
    near = judged_replies(resident, thumbs(resident, version=9), 8, settings)
    assert near is not None
    assert len(near.rows) == 12
    drifted = judged_replies(
        resident, thumbs(resident, off=0.6), 0, settings
    )  # 0.6 nats per token: the bad ones go, the good ones stay
    assert drifted is not None
    assert (len(drifted.rows), drifted.num_dropped) == (6, 6)
    assert (drifted.advantages > 0).all()
    warm = [
        replace(item, good=item.good and replace(item.good, is_plain=False)) for item in items
    ]  # drawn at another temperature
    some = judged_replies(resident, warm, 0, settings)
    assert some is not None
    assert (len(some.rows), some.num_dropped) == (6, 6)
    assert (some.advantages < 0).all()
    bare = [
        replace(item, good=item.good and replace(item.good, logps=None), bad=item.bad and replace(item.bad, logps=None))
        for item in items
    ]
    assert judged_replies(resident, bare, 0, settings) is None
    edit = Example(
        "edit", PROMPTS[0], CompletionTokens(GOOD), recorded(resident, PROMPTS[0], BAD), "ann", ("e",), 1, weight=2.0
    )
    found = judged_replies(resident, [edit], 0, settings)
    assert found is not None
    assert [tuple(row.branches[0]) for row in found.rows] == [BAD]  # of a correction, what was sampled
    assert found.weights.tolist() == [1.0]


def gradients(resident: Resident, judged: Judged, settings: LearnerSettings) -> tuple[float, list[torch.Tensor]]:
    resident.model.zero_grad()
    loss, _, _ = judged_backward(resident, judged, range(len(judged.rows)), settings)
    return loss, [weight.grad.clone() for weight in resident.model.parameters() if weight.grad is not None]


def test_the_gradient_is_that_of_reinforce_however_it_is_cut(make_settings: Build) -> None:
    settings = make_settings(algorithm="ppo", off_policy=2.0)
    resident = fresh(settings)
    items = [replace(item, weight=0.5 + place % 3) for place, item in enumerate(thumbs(resident, off=-0.2))]
    judged = judged_replies(resident, items, 0, settings)
    assert judged is not None
    loss, ours = gradients(resident, judged, settings)
    cut_loss, cut = gradients(resident, judged, settings.model_copy(update={"token_budget": 64}))
    assert cut_loss == pytest.approx(loss, abs=1e-6)
    resident.model.zero_grad()
    total = sum(float(judged.weights[n]) * len(row.branches[0]) for n, row in enumerate(judged.rows))
    for n, row in enumerate(judged.rows):  # by hand: -w c A logp for each token, at a ratio of one
        logps = resident.model(torch.tensor([[*row.prompt_ids, *row.branches[0]]])).logits[0, :-1].log_softmax(-1)
        said = logps[len(row.prompt_ids) - 1 :].gather(1, torch.tensor(row.branches[0])[:, None])[:, 0]
        factor = 2.0 * judged.weights[n] * judged.corrections[n, : len(said)] * judged.advantages[n] / total
        (-factor * said).sum().backward()
    plain = [weight.grad for weight in resident.model.parameters() if weight.grad is not None]
    for one, other, hand in zip(ours, cut, plain, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(one, hand, rtol=1e-3, atol=1e-6)


def test_ppo_learns_from_judged_replies_where_the_reward_says_nothing(make_settings: Build) -> None:
    gains = {}
    for weight in (0.0, 3.0):
        settings = make_settings(
            algorithm="ppo", off_policy=weight, reward_pessimism=0.0, **{**SMALL, "rollout_rounds": 6}
        )
        resident, optimizer, guards, rewards = parts(settings)
        judged = judged_replies(resident, thumbs(resident), 0, settings)
        assert judged is not None
        rewards.rewards = lambda features, pessimism, limit: torch.zeros(len(features))  # type: ignore[method-assign, assignment]

        def leaning(resident: Resident = resident) -> float:
            good, bad = (
                completion_sums(resident.model, [(prompt, ids) for prompt in PROMPTS], 4096).mean()
                for ids in (GOOD, BAD)
            )
            return float(good - bad)

        before, told = leaning(), list[dict[str, float]]()
        train_on_policy(
            resident,
            optimizer,
            guards,
            rewards,
            prompts=PROMPTS,
            live_weights=resident.weights(),
            anchors=[],
            settings=settings,
            seed=5,
            progress=lambda step, steps, loss, metrics, told=told: told.append(metrics),
            judged=judged if weight else None,
        )
        gains[weight] = leaning() - before
        assert ("judged/ratio" in told[-1]) == (weight > 0)
    assert gains[3.0] > gains[0.0] + 1.0
