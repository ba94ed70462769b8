"""Tokens per second of two models on the same runner, interleaved: a new bundled model beside the one before.

    python -m bench.model_speed FOLDER_BEFORE [--model pocket]

Every completion has the same number of tokens, since no token ends it.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from bench.record import record
from policy.chat import load_tokenizer, render_prompt
from policy.model import model_digest
from policy.runners.base import Runner, RunnerOptions, SamplingSettings, VersionSource, generate_all
from policy.runners.process import RunnerProcess

STREAMS = (1, 8)
MAX_TOKENS = 128
ASKED = "What is the capital of France?"


def tokens_per_s(runner: Runner, prompt: list[int], streams: int, seed: int) -> float:
    """Return the tokens per second of all streams together."""
    settings = [SamplingSettings(max_tokens=MAX_TOKENS, seed=seed + index) for index in range(streams)]
    began = time.perf_counter()
    found = generate_all(runner, [prompt] * streams, settings)
    return sum(len(ids) for ids, _, _ in found) / (time.perf_counter() - began)


def main() -> None:
    """Measure in turns, print, and write bench/results/model_speed.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="folder of the model to compare with")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    names = {"before": asked.before, "now": asked.model}
    with tempfile.TemporaryDirectory() as cache:
        runners = {
            key: RunnerProcess.load(
                VersionSource(0, name, model_digest(name), Path(cache) / key), RunnerOptions(kinds=("openvino",))
            )
            for key, name in names.items()
        }
        prompts = {
            key: render_prompt(load_tokenizer(name), [{"role": "user", "content": ASKED}])
            for key, name in names.items()
        }
        seen: dict[int, dict[str, list[float]]] = {streams: {"before": [], "now": []} for streams in STREAMS}
        try:
            for number in range(asked.rounds + 1):
                for streams in STREAMS:
                    for key in ("before", "now") if number % 2 else ("now", "before"):
                        speed = tokens_per_s(runners[key], prompts[key], streams, 100 * number)
                        if number:  # the first round warms up
                            seen[streams][key].append(speed)
        finally:
            for runner in runners.values():
                runner.close()
    results = []
    for streams, speeds in seen.items():
        ratios = sorted(now / before for now, before in zip(speeds["now"], speeds["before"], strict=True))
        results.append(
            {
                "streams": streams,
                "before_tokens_per_s": round(statistics.median(speeds["before"]), 1),
                "now_tokens_per_s": round(statistics.median(speeds["now"]), 1),
                "ratio": round(statistics.median(ratios), 3),
                "ratio_least": round(ratios[0], 3),
                "ratio_most": round(ratios[-1], 3),
            }
        )
        print(json.dumps(results[-1]), flush=True)
    digests = {key: model_digest(name)[:16] for key, name in names.items()}
    record(
        "model_speed",
        {
            "models": digests,
            "max_tokens": MAX_TOKENS,
            "rounds": asked.rounds,
            "results": results,
            "load_average": os.getloadavg()[1],
        },
    )


if __name__ == "__main__":
    main()
