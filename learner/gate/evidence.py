"""Measures the evidence of a candidate, on the resident model."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from learner.data.examples import Example
from learner.gate.checks import Evidence
from learner.gate.skill_probes import NONE_ASKED, ProbeAnswers, SkillProbe, probe_answers
from learner.model import distributed
from learner.model.anchors import Anchor
from learner.model.drift import drift_per_completion
from learner.model.reference import Reference
from learner.model.resident import Resident, Weights
from learner.model.rollouts import Rollout
from learner.model.scoring import Ids, completion_sums
from learner.settings import GateSettings


@dataclass(frozen=True)
class Samples:
    """Live's samples before the update, and what live and base answer to `skill_probes`.

    The candidate samples completions of the same prompts.
    """

    prompts: tuple[tuple[int, ...], ...]
    live: tuple[Rollout, ...]
    seed: int
    skill_probes: tuple[SkillProbe, ...] = ()
    live_answers: ProbeAnswers = NONE_ASKED
    base_answers: ProbeAnswers = NONE_ASKED


def gate_prompts(
    examples: Sequence[Example], anchors: Sequence[Anchor], count: int, longest: int
) -> tuple[tuple[int, ...], ...]:
    """Return at most `count` distinct prompts of at most `longest` tokens.

    Half are of the update's examples, the rest of anchors.
    """
    asked = [prompt for prompt in dict.fromkeys(example.prompt_ids for example in examples) if len(prompt) <= longest]
    others = [anchor.prompt_ids for anchor in anchors if len(anchor.prompt_ids) <= longest]
    half = asked[: max(count // 2, count - len(others))]
    return tuple(dict.fromkeys([*half, *others]))[:count]


def num_samples(limits: GateSettings, *, is_small: bool) -> int:
    """Return how many samples live and candidate each make. `is_small`: the model is, for this machine."""
    return limits.num_samples or (32 if is_small else 16)


def samples_of(resident: Resident, prompts: Sequence[Ids], seed: int) -> list[Rollout]:
    """Return one sample per prompt from the resident weights, at temperature 1."""
    return distributed.the_first(resident.sample(prompts, max_tokens=resident.settings.gate.max_tokens, seed=seed))


def evidence_of(
    resident: Resident,
    live_weights: Weights,
    live: int,
    samples: Samples,
    held_out: Sequence[Example],
    reference: Reference,
    retention: Sequence[Anchor],
) -> Evidence:
    """Measure the resident weights as a candidate against version `live`.

    `retention` are anchors that were not trained on.
    """
    budget = resident.settings.token_budget
    if not all(bool(torch.isfinite(parameter).all()) for _, parameter in resident.trainable()):
        nan = float("nan")
        return Evidence((), nan, nan, nan, nan, nan, nan, weights_finite=False)
    gains = _gains(resident, held_out, reference, budget)
    own = samples_of(resident, samples.prompts, samples.seed)
    completions = [(rollout.prompt_ids, rollout.ids) for rollout in own]
    with resident.autocast():
        candidate_sums = completion_sums(resident.model, completions, budget)
        with resident.holding(live_weights):
            live_sums = completion_sums(resident.model, completions, budget)
        if live == 0:
            base_sums = live_sums
        else:
            with resident.as_base():
                base_sums = completion_sums(resident.model, completions, budget)
    anchor_tokens = sum(len(anchor.completion_ids) for anchor in retention)
    right = probe_answers(resident, samples.skill_probes, samples.live_answers).right
    return Evidence(
        gains=gains,
        live_kl=(candidate_sums - live_sums).mean().item(),
        base_kl=(candidate_sums - base_sums).mean().item(),
        anchor_kl=drift_per_completion(resident, retention, budget) * len(retention) / anchor_tokens
        if retention
        else 0.0,
        length_ratio=_mean_length(own) / max(_mean_length(samples.live), 1e-9),
        endless_rise=_endless_share(own) - _endless_share(samples.live),
        empty_rise=_empty_share(own) - _empty_share(samples.live),
        weights_finite=True,
        skill_gains=_skill_gains(right, samples.live_answers.right),
        base_skill_gains=_skill_gains(right, samples.base_answers.right),
        gain_weights=tuple(example.example_weight for example in held_out),
    )


def _gains(resident: Resident, held_out: Sequence[Example], reference: Reference, budget: int) -> tuple[float, ...]:
    """Return by held-out example how far the policy moved towards its label, against live, in nats.

    Of pairs and corrections it is the margin's rise, of thumbs the log-ratio.
    """
    if not held_out:
        return ()
    sides = [(example.prompt_ids, side.ids) for example in held_out for side in example.completions]
    with resident.autocast():
        sums = completion_sums(resident.model, sides, budget)
    log_ratios = iter((sums - reference.sums(held_out)).tolist())
    gains = []
    for example in held_out:
        if example.kind == "thumb":
            gains.append(next(log_ratios) if example.up else -next(log_ratios))
        else:
            gains.append(next(log_ratios) - next(log_ratios))
    return tuple(gains)


def _skill_gains(candidate: Sequence[bool], other: Sequence[bool]) -> tuple[int, ...]:
    return tuple(int(right) - int(other_right) for right, other_right in zip(candidate, other, strict=True))


def _mean_length(rollouts: Sequence[Rollout]) -> float:
    return sum(len(rollout.ids) for rollout in rollouts) / len(rollouts)


def _endless_share(rollouts: Sequence[Rollout]) -> float:
    """Return the share of samples that did not end."""
    return sum(not rollout.is_finished for rollout in rollouts) / len(rollouts)


def _empty_share(rollouts: Sequence[Rollout]) -> float:
    """Return the share of samples that ended at once."""
    return sum(rollout.is_finished and len(rollout.ids) <= 1 for rollout in rollouts) / len(rollouts)
