"""What a sampler of the learner costs: handing it new weights, and 64 rollouts on 16 prompts.

    python -m bench.sampler [--model pocket] [--rounds 3] [--threads 2] [--tokens 64]

Each round all samplers get the same new weights, in turns. CPU seconds count the process of a runner too.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch

from bench.record import record
from learner.model.resident import Resident
from learner.model.rollouts import row_settings
from learner.model.runner_sampler import RunnerSampler
from learner.model.sampler import Sampler, TorchSampler
from learner.settings import load_settings
from policy.chat import end_ids, render_prompt

PROMPTS, GROUP = 16, 4
STEP = 0.003  # by which each trainable weight moves at random between rounds
ASKED = "Tell me about the number {} and why people in the old town liked it so much."


def main() -> None:
    """Measure in turns, print, and write bench/results/sampler_MODEL.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=64, help="most tokens of a rollout")
    parser.add_argument("--samplers", nargs="+", default=["torch", "openvino", "llamacpp"])
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as data:
        given = {"data": Path(data), "model": asked.model, "device": "cpu", "sampler": "torch"}
        resident = Resident(load_settings(given))
        resident.become(None, 0)
        in_process = TorchSampler(resident)
        samplers: dict[str, Sampler] = {
            name: in_process if name == "torch" else RunnerSampler(resident, name, in_process.sample, idle_s=1e6)
            for name in asked.samplers
        }
        seen: dict[str, list[dict[str, float]]] = {name: [] for name in samplers}
        try:
            for number in range(asked.rounds + 1):
                nudge(resident, number)
                for name in reversed(samplers) if number % 2 else samplers:
                    seen[name].append(costs(resident, samplers[name], asked.tokens))
                    print(json.dumps({"round": number, "sampler": name, **seen[name][-1]}), flush=True)
        finally:
            for sampler in samplers.values():
                sampler.close()
    results = {name: medians(rounds) for name, rounds in seen.items()}
    print(json.dumps(results, indent=1))
    setup = {"model": asked.model, "tokens": asked.tokens, "threads": asked.threads, "rounds": asked.rounds}
    record(f"sampler_{asked.model}", {**setup, "results": results})


def nudge(resident: Resident, seed: int) -> None:
    """Move all trainable weights, as an update does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in resident.trainable():
            parameter.add_(STEP * torch.randn(parameter.shape, generator=generator))


def costs(resident: Resident, sampler: Sampler, max_tokens: int) -> dict[str, float]:
    """Return the seconds and CPU seconds of one token with new weights, and of the rollouts after it."""
    texts = [ASKED.format(number) for number in range(PROMPTS)]
    prompts = [render_prompt(resident.tokenizer, [{"role": "user", "content": text}]) for text in texts]
    rows = [prompt for prompt in prompts for _ in range(GROUP)]
    ends = end_ids(resident.tokenizer)
    times = [_now(sampler)]
    sampler.sample(rows[:1], row_settings(1, end_ids=ends, max_tokens=1, seed=1))
    times.append(_now(sampler))
    rollouts = sampler.sample(rows, row_settings(len(rows), end_ids=ends, max_tokens=max_tokens, seed=2))
    times.append(_now(sampler))
    (began, cpu_began), (handed, cpu_handed), (ended, cpu_ended) = times
    return {
        "weights_s": round(handed - began, 2),
        "weights_cpu_s": round(cpu_handed - cpu_began, 2),
        "rollouts_s": round(ended - handed, 2),
        "rollouts_cpu_s": round(cpu_ended - cpu_handed, 2),
        "tokens": float(sum(len(rollout.ids) for rollout in rollouts)),
    }


def _now(sampler: Sampler) -> tuple[float, float]:
    spent = os.times()
    return time.perf_counter(), spent.user + spent.system + sampler.cpu_seconds()


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Return the medians of all rounds but the first, in which processes start, and what that took for new weights."""
    first, *others = rounds
    found = {name: round(statistics.median(one[name] for one in others), 3) for name in first}
    return {**found, "start_s": first["weights_s"], "start_cpu_s": first["weights_cpu_s"]}


if __name__ == "__main__":
    main()
