"""Measures the runners on one model: how fast they answer one, several and many people, and a further turn.

The rounds are interleaved, so that what else the machine does weighs on all runners alike.
"""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from statistics import median

from policy.errors import RunnerFailed
from policy.runners.base import RunnerOptions, SamplingSettings, VersionSource, generate_all
from policy.runners.measured import NEXT_TURN, STREAMS, Rates, streams_row
from policy.runners.process import RunnerProcess

PROMPT = 64  # tokens
ANSWERS = {1: 48, 8: 24, 32: 16}  # tokens of an answer, by how many there are at once
CONVERSATION = 768  # tokens before the further turn, at most three quarters of the context
ROUNDS = 3


def measure(
    source: VersionSource,
    options: RunnerOptions,
    kinds: Sequence[str],
    *,
    rounds: int = ROUNDS,
    note: Callable[[str], None] = lambda _: None,
) -> dict[str, Rates]:
    """Return the rates of each kind that loads the version, medians of the rounds. `note` gets a line for each round.

    Prompts are random tokens: speed does not depend on them. Raises RunnerFailed when no kind loads it.
    """
    with ExitStack() as stack:
        runners: list[RunnerProcess] = []
        reasons = []
        for kind in kinds:
            try:
                runner = RunnerProcess.load(source, replace(options, kinds=(kind,)))
            except RunnerFailed as error:
                reasons.append(f"{kind}: {error}")
            else:
                runners.append(stack.enter_context(closing(runner)))
        if not runners:
            raise RunnerFailed(f"no runner loads this model: {'; '.join(reasons)}")
        for runner in runners:
            _tokens_per_s(runner, 1, "warm")
        seen: list[dict[str, Rates]] = []
        for number in range(rounds):
            order = runners if number % 2 == 0 else runners[::-1]
            seen.append({runner.kind: _round(runner, str(number), options.max_batch) for runner in order})
            note(f"round {number + 1} of {rounds} is done")
        return {
            runner.kind: {row: median(one[runner.kind][row] for one in seen) for row in seen[0][runner.kind]}
            for runner in runners
        }


def _round(runner: RunnerProcess, name: str, most: int) -> Rates:
    counts = [count for count in STREAMS if count <= most]
    rates = {streams_row(count): _tokens_per_s(runner, count, f"{name}-{count}") for count in counts}
    return {**rates, NEXT_TURN: _next_turns_per_s(runner, f"{name}-turn")}


def _tokens_per_s(runner: RunnerProcess, streams: int, name: str) -> float:
    """Return the tokens per second of answers to new prompts, all at once."""
    prompts = [_tokens(runner, PROMPT, f"{name}-{index}") for index in range(streams)]
    settings = [SamplingSettings(max_tokens=ANSWERS[streams], seed=index) for index in range(streams)]
    began = time.perf_counter()
    generate_all(runner, prompts, settings, prefix=name)
    return streams * ANSWERS[streams] / (time.perf_counter() - began)


def _next_turns_per_s(runner: RunnerProcess, name: str) -> float:
    """Return 1 / the seconds to the first token of the second turn of a long conversation."""
    length = min(CONVERSATION, runner.context_length * 3 // 4)
    prompt = _tokens(runner, length, name)
    [(answer, _, _)] = generate_all(runner, [prompt], [SamplingSettings(max_tokens=8)], prefix=f"{name}-first")
    turn = [*prompt, *answer, *_tokens(runner, PROMPT // 2, f"{name}-more")]
    began = time.perf_counter()
    generate_all(runner, [turn], [SamplingSettings(max_tokens=1)], prefix=f"{name}-second")
    return 1 / (time.perf_counter() - began)


def _tokens(runner: RunnerProcess, count: int, name: str) -> list[int]:
    source = random.Random(name)
    return [source.randrange(runner.vocabulary) for _ in range(count)]
