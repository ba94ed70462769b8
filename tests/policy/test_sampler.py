"""The plain sampler fits its stated distribution, and so does the OpenVINO runner."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.array_sampler import uniform_number
from policy.errors import PromptTooLong
from policy.runners.base import SamplingSettings, generate_all
from policy.runners.process import RunnerProcess
from policy.sampler import (
    generate,
    sampled_tokens,
    sampling_scores,
)
from tests.policy.conftest import plain_model
from tests.policy.sampling import sampled_completion_logps, sampled_logps

SETTINGS = st.builds(
    SamplingSettings,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 1.7]),
    top_p=st.sampled_from([1.0, 0.95, 0.5, 0.01]),
    top_k=st.sampled_from([0, 1, 3, 1000]),
    presence_penalty=st.sampled_from([0.0, 0.7, -1.0]),
    frequency_penalty=st.sampled_from([0.0, 0.4]),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.7]),
    min_p=st.sampled_from([0.0, 0.1, 1.0]),
    seed=st.integers(0, 9),
)


def chi_square(counts: Counter[Any], expected: dict[Any, float]) -> float:
    """Return the p-value of seen counts against expected ones; outcomes with less than five expected are one bin."""
    seen = [counts[outcome] for outcome, number in expected.items() if number >= 5]
    hoped = [number for number in expected.values() if number >= 5]
    total = sum(counts.values())
    if total - sum(hoped) > 1:
        seen.append(total - sum(seen))
        hoped.append(total - sum(hoped))
    statistic = sum((ours - theirs) ** 2 / theirs for ours, theirs in zip(seen, hoped, strict=True))
    return float(torch.special.gammaincc(torch.tensor((len(hoped) - 1) / 2.0), torch.tensor(statistic / 2.0)))


def plain_distribution(
    logits: Sequence[float], setting: SamplingSettings, history: Sequence[int], prompt: Sequence[int]
) -> list[float]:
    """Return the distribution of the settings, in plain Python."""
    seen, penalty = {*prompt, *history}, setting.repetition_penalty
    raw = [
        score if token not in seen else score * penalty if score < 0 else score / penalty
        for token, score in enumerate(logits)
    ]
    scores = [
        score - setting.presence_penalty * (token in history) - setting.frequency_penalty * list(history).count(token)
        for token, score in enumerate(raw)
    ]
    if setting.temperature == 0:
        best = max(range(len(scores)), key=lambda token: (scores[token], -token))
        return [float(token == best) for token in range(len(scores))]
    top = max(scores)
    weights = [math.exp((score - top) / setting.temperature) for score in scores]
    order = sorted(range(len(scores)), key=lambda token: (-scores[token], token))[: setting.top_k or len(scores)]
    kept, held, whole = set(), 0.0, sum(weights[token] for token in order)
    for token in order:
        if setting.top_p < 1 and kept and held >= setting.top_p * whole:
            break
        kept.add(token)
        held += weights[token]
    kept = {token for token in kept if weights[token] >= setting.min_p * weights[order[0]]}
    held = sum(weights[token] for token in kept)
    return [weights[token] / held if token in kept else 0.0 for token in range(len(scores))]


TOKENS = st.lists(st.integers(0, 1), max_size=4)


@given(st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=12), SETTINGS, TOKENS, TOKENS)
@settings(max_examples=300, deadline=None)
def test_the_distribution_is_what_the_settings_mean(
    logits: list[float], setting: SamplingSettings, history: list[int], prompt: list[int]
) -> None:
    seen = sampled_logps(torch.tensor(logits, dtype=torch.float64), setting, history, prompt).exp()
    assert seen.tolist() == pytest.approx(plain_distribution(logits, setting, history, prompt), abs=1e-9)


@given(
    SETTINGS, st.lists(st.integers(0, 299), max_size=20), st.lists(st.integers(0, 299), min_size=1), st.integers(0, 99)
)
@settings(max_examples=100, deadline=None)
def test_repetition_penalty_and_min_p_are_those_of_transformers(
    setting: SamplingSettings, history: list[int], prompt: list[int], seed: int
) -> None:
    """Its processors run in the order of its `generate`: repetition, temperature, top-k, top-p, min-p."""
    from transformers.generation import logits_process as theirs

    ours = replace(setting, temperature=setting.temperature or 0.5, presence_penalty=0.0, frequency_penalty=0.0)
    processors = theirs.LogitsProcessorList(
        [
            theirs.RepetitionPenaltyLogitsProcessor(ours.repetition_penalty),
            theirs.TemperatureLogitsWarper(ours.temperature),
            theirs.TopKLogitsWarper(ours.top_k or 300),
            theirs.TopPLogitsWarper(ours.top_p),
            theirs.MinPLogitsWarper(ours.min_p),
        ]
    )
    logits = 3.0 * torch.randn(1, 300, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = torch.log_softmax(processors(torch.tensor([[*prompt, *history]]), logits.clone()), -1)[0]
    assert torch.allclose(sampled_logps(logits[0], ours, history, prompt), expected, atol=1e-9)


@given(st.lists(SETTINGS, min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_a_row_does_not_depend_on_its_neighbors(several: list[SamplingSettings]) -> None:
    logits = torch.randn(len(several), 20, generator=torch.Generator().manual_seed(0))
    histories = [[number] * number for number in range(len(several))]
    prompts = [[number, 19 - number] for number in range(len(several))]
    together = sampling_scores(logits, several, histories, prompts)
    tokens, _ = sampled_tokens(logits, several, histories, prompts)
    for row, (setting, history, prompt) in enumerate(zip(several, histories, prompts, strict=True)):
        alone = logits[row : row + 1], [setting], [history], [prompt]
        assert torch.equal(together[row], sampling_scores(*alone)[0])
        assert tokens[row] == sampled_tokens(*alone)[0][0]
        assert math.isfinite(sampled_logps(logits[row], setting, history, prompt)[tokens[row]])


def test_twenty_thousand_samples_fit_the_distribution() -> None:
    logits = 2.0 * torch.randn(30, generator=torch.Generator().manual_seed(1))
    setting = SamplingSettings(temperature=0.8, top_p=0.97, top_k=25, presence_penalty=0.5)
    several = [SamplingSettings(**{**setting.__dict__, "seed": seed}) for seed in range(20_000)]
    tokens, raw = sampled_tokens(logits.expand(20_000, -1), several, [[3, 4]] * 20_000)
    chances = sampled_logps(logits, setting, [3, 4]).exp()
    expected = {token: 20_000 * float(chance) for token, chance in enumerate(chances) if chance > 0}
    counts = Counter(tokens)
    assert set(counts) <= set(expected)
    assert chi_square(counts, expected) > 1e-3
    assert (
        chi_square(counts, {token: 20_000 * float(chance) for token, chance in enumerate(torch.softmax(logits, -1))})
        < 1e-6
    )
    assert raw[0] == pytest.approx(torch.log_softmax(logits, -1)[tokens[0]].item(), abs=1e-5)


def test_uniform_numbers_are_uniform_and_reproducible() -> None:
    numbers = [uniform_number(seed, index) for seed in range(100) for index in range(100)]
    assert chi_square(Counter(int(number * 20) for number in numbers), dict.fromkeys(range(20), 500.0)) > 1e-3
    assert numbers[:3] == [uniform_number(0, index) for index in range(3)]
    assert all(0 <= number < 1 for number in numbers)


def test_the_plain_sampler_stops_at_ends_and_refuses_what_does_not_fit(models: Callable[[str], Path]) -> None:
    model = plain_model(models("llama"))
    ids, logps, finish = generate(model, [1, 4, 5], SamplingSettings(temperature=1.0, max_tokens=30, seed=1))
    assert (len(ids), len(logps), finish) == (30, 30, "length")
    cut = generate(model, [1, 4, 5], SamplingSettings(temperature=1.0, max_tokens=30, seed=1, end_ids=(ids[4],)))
    assert cut[0] == ids[: ids.index(ids[4]) + 1]
    assert cut[2] == "stop"
    with pytest.raises(PromptTooLong, match="500 tokens of prompt and 30 of answer"):
        generate(model, [1] * 500, SamplingSettings(max_tokens=30))


def test_sampled_log_probabilities_of_a_completion_take_one_forward_pass(models: Callable[[str], Path]) -> None:
    model = plain_model(models("llama"))
    setting = SamplingSettings(temperature=0.7, top_k=12, top_p=0.9, presence_penalty=0.8, max_tokens=12, seed=4)
    prompt = [1, 4, 90, 91, 5]
    ids, _, _ = generate(model, prompt, setting)
    with torch.no_grad():
        together = sampled_completion_logps(model, prompt, ids, setting)
        one_by_one = []
        for index, token in enumerate(ids):
            logits = model(torch.tensor([[*prompt, *ids[:index]]])).logits[0, -1]
            one_by_one.append(sampled_logps(logits, setting, ids[:index])[token].item())
    assert together.tolist() == pytest.approx(one_by_one, abs=1e-4)
    assert all(math.isfinite(logp) for logp in together.tolist())


OPENVINO = [
    SamplingSettings(top_k=3, max_tokens=3, presence_penalty=1.0, frequency_penalty=0.5),
    SamplingSettings(temperature=0.8, top_k=4, max_tokens=3, presence_penalty=-0.7, frequency_penalty=0.9),
    SamplingSettings(temperature=0.6, top_p=0.5, max_tokens=2),
    SamplingSettings(temperature=1.3, top_k=6, top_p=0.7, max_tokens=2),
    SamplingSettings(temperature=1.5, top_k=9, top_p=0.9, min_p=0.3, max_tokens=2),
]


@pytest.mark.parametrize(
    "setting", [pytest.param(one, marks=[] if index == 3 else pytest.mark.slow) for index, one in enumerate(OPENVINO)]
)
def test_twenty_thousand_samples_of_the_openvino_runner_fit_the_distribution(
    setting: SamplingSettings, runners: Callable[..., RunnerProcess], models: Callable[[str], Path]
) -> None:
    number, prompt = 20_000, [1, 4, 100, 101, 102, 5]
    model = plain_model(models("llama"))

    def outcomes(ids: list[int], logp: float) -> dict[tuple[int, ...], float]:
        if len(ids) == setting.max_tokens:
            return {tuple(ids): number * math.exp(logp)}
        with torch.no_grad():
            logps = sampled_logps(model(torch.tensor([[*prompt, *ids]])).logits[0, -1], setting, ids)
        found: dict[tuple[int, ...], float] = {}
        for token in torch.nonzero(logps > -1e9)[:, 0].tolist():
            found |= outcomes([*ids, token], logp + float(logps[token]))
        return found

    several = [SamplingSettings(**{**setting.__dict__, "seed": seed}) for seed in range(1, number + 1)]
    generations = generate_all(runners("openvino"), [prompt] * number, several, timeout_s=600)
    counts = Counter(tuple(generation[0]) for generation in generations)
    expected = outcomes([], 0.0)
    assert set(counts) <= set(expected)
    assert chi_square(counts, expected) > 1e-3
