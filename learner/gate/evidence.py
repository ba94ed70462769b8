"""What the gate wants to know of a candidate, measured on the resident model."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from learner.data.examples import Example
from learner.gate.checks import Evidence
from learner.gate.skill_probes import SkillProbe, right_answers
from learner.model import distributed
from learner.model.anchors import Anchor
from learner.model.drift import drift_per_completion
from learner.model.reference import Reference
from learner.model.resident import Resident, Weights
from learner.model.rollouts import Rollout, sample_rollouts
from learner.model.scoring import Ids, completion_sums
from policy.chat import end_ids


@dataclass(frozen=True)
class Samples:
    """Replies of the live version before the update, to prompts of people and of anchors; the candidate answers the
    same.

    `probes` with which of them live and base answer rightly.
    """

    prompts: tuple[tuple[int, ...], ...]
    live: tuple[Rollout, ...]
    seed: int
    probes: tuple[SkillProbe, ...] = ()
    live_right: tuple[bool, ...] = ()
    base_right: tuple[bool, ...] = ()


def gate_prompts(
    examples: Sequence[Example], anchors: Sequence[Anchor], count: int, longest: int
) -> tuple[tuple[int, ...], ...]:
    """Return at most `count` distinct prompts of at most `longest` tokens: half from the update's examples, the rest
    from anchors.
    """
    asked = [prompt for prompt in dict.fromkeys(example.prompt_ids for example in examples) if len(prompt) <= longest]
    others = [anchor.prompt_ids for anchor in anchors if len(anchor.prompt_ids) <= longest]
    half = asked[: max(count // 2, count - len(others))]
    return tuple(dict.fromkeys([*half, *others]))[:count]


def samples_of(resident: Resident, prompts: Sequence[Ids], seed: int) -> list[Rollout]:
    """Return one reply per prompt from the resident weights, at temperature 1."""
    most = resident.settings.gate.max_tokens
    with resident.autocast():
        return distributed.the_first(
            sample_rollouts(resident.model, prompts, end_ids=end_ids(resident.tokenizer), max_tokens=most, seed=seed)
        )


def evidence_of(
    resident: Resident,
    live_weights: Weights,
    live: int,
    samples: Samples,
    held_out: Sequence[Example],
    reference: Reference,
    kept: Sequence[Anchor],
) -> Evidence:
    """Measure the resident weights as a candidate against version `live`; `kept` are anchors that were not trained on."""
    budget = resident.settings.token_budget
    finite = all(bool(torch.isfinite(parameter).all()) for _, parameter in resident.trainable())
    if not finite:
        nan = float("nan")
        return Evidence((), nan, nan, nan, nan, nan, nan, weights_finite=False)
    gains = _gains(resident, held_out, reference, budget)
    own = samples_of(resident, samples.prompts, samples.seed)
    replies = [(rollout.prompt_ids, rollout.ids) for rollout in own]
    with resident.autocast():
        mine = completion_sums(resident.model, replies, budget)
        with resident.holding(live_weights):
            theirs = completion_sums(resident.model, replies, budget)
        if live == 0:
            base = theirs
        else:
            with resident.as_base():
                base = completion_sums(resident.model, replies, budget)
    anchor_tokens = sum(len(anchor.completion_ids) for anchor in kept)
    right = right_answers(resident, samples.probes)
    return Evidence(
        gains=gains,
        live_kl=(mine - theirs).mean().item(),
        base_kl=(mine - base).mean().item(),
        anchor_kl=drift_per_completion(resident, kept, budget) * len(kept) / anchor_tokens if kept else 0.0,
        length_ratio=_mean_length(own) / max(_mean_length(samples.live), 1e-9),
        endless_rise=_share(own, endless=True) - _share(samples.live, endless=True),
        empty_rise=_share(own, endless=False) - _share(samples.live, endless=False),
        weights_finite=finite,
        skill_gains=tuple(int(mine) - int(theirs) for mine, theirs in zip(right, samples.live_right, strict=True)),
        base_skill_gains=tuple(int(mine) - int(theirs) for mine, theirs in zip(right, samples.base_right, strict=True)),
        gain_weights=tuple(example.example_weight for example in held_out),
    )


def _gains(resident: Resident, held_out: Sequence[Example], reference: Reference, budget: int) -> tuple[float, ...]:
    """Return for each held-out judgement how far the policy moved towards it from live: margins of pairs, log-ratios of
    thumbs.
    """
    if not held_out:
        return ()
    with resident.autocast():
        now = completion_sums(
            resident.model,
            [(example.prompt_ids, reply.ids) for example in held_out for reply in example.completions],
            budget,
        )
    h = (now - reference.sums(held_out)).tolist()
    gains, place = [], 0
    for example in held_out:
        if example.kind == "thumb":
            gains.append(h[place] if example.up else -h[place])
        else:
            gains.append(h[place] - h[place + 1])
        place += len(example.completions)
    return tuple(gains)


def _mean_length(rollouts: Sequence[Rollout]) -> float:
    return sum(len(rollout.ids) for rollout in rollouts) / len(rollouts)


def _share(rollouts: Sequence[Rollout], *, endless: bool) -> float:
    """Return the share of replies that did not end, or of those that ended at once."""
    hits = [
        not rollout.is_finished if endless else rollout.is_finished and len(rollout.ids) <= 1 for rollout in rollouts
    ]
    return sum(hits) / len(hits)
