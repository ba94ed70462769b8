"""Cost of lower precision: each runner's log-probabilities against torch in float32, and its memory.

    python -m bench.precision [--model pocket]

Completions are sampled from the float32 model and scored by each runner. `error_nats` is the difference per token from
torch in float32.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from bench.record import quantiles, record
from bench.swap import ASKED
from policy.chat import end_ids, load_tokenizer, render_prompt
from policy.logprobs import score_rows
from policy.model import load_model, model_digest
from policy.row_layout import Row
from policy.runners.base import RunnerOptions, SamplingSettings, VersionSource, generate_all
from policy.runners.process import RunnerProcess
from policy.sampler import generate

COMPLETIONS = 48
MAX_TOKENS = 64
SETUPS: list[dict[str, Any]] = [
    {"kinds": ("openvino",), "precision": "float32", "quantize": "none"},
    {"kinds": ("openvino",), "precision": "bfloat16", "quantize": "none"},
    {"kinds": ("openvino",), "precision": "float32", "quantize": "q8_0"},
    {"kinds": ("openvino",), "precision": "float32", "quantize": "q4_0"},
    {"kinds": ("transformers",), "precision": "float32", "quantize": "none"},
    {"kinds": ("transformers",), "precision": "bfloat16", "quantize": "none"},
]


def main() -> None:
    """Measure once, print, and write bench/results/precision.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pocket")
    name = parser.parse_args().model
    tokenizer, model = load_tokenizer(name), load_model(name, "cpu", "float32")
    ends = end_ids(tokenizer)
    prompts = [
        render_prompt(tokenizer, [{"role": "user", "content": ASKED[index % len(ASKED)]}])
        for index in range(COMPLETIONS)
    ]
    sampled = [
        SamplingSettings(temperature=1.0, max_tokens=MAX_TOKENS, seed=seed, end_ids=ends) for seed in range(COMPLETIONS)
    ]
    greedy = SamplingSettings(temperature=0.0, max_tokens=MAX_TOKENS, end_ids=ends)
    completions = [generate(model, prompt, setting)[0] for prompt, setting in zip(prompts, sampled, strict=True)]
    best = [generate(model, prompt, greedy)[0] for prompt in prompts[: len(ASKED)]]
    truth = [
        row[0].tolist()
        for row in score_rows(
            model, [Row(prompt, [completion]) for prompt, completion in zip(prompts, completions, strict=True)]
        )
    ]
    results = []
    with tempfile.TemporaryDirectory() as cache:
        for setup in SETUPS:
            source = VersionSource(0, name, model_digest(name), Path(cache))
            runner = RunnerProcess.load(source, RunnerOptions(**setup, max_batch=COMPLETIONS))
            try:
                seen = runner.score(list(zip(prompts, completions, strict=True)))
                likeliest = generate_all(runner, prompts[: len(ASKED)], [greedy] * len(ASKED))
                memory = runner.stats()["rss"]
            finally:
                runner.close()
            apart = [
                abs(a - b) for ours, theirs in zip(seen, truth, strict=True) for a, b in zip(ours, theirs, strict=True)
            ]
            results.append(
                {
                    "runner": setup["kinds"][0],
                    "precision": setup["precision"],
                    "quantize": setup["quantize"],
                    "error_nats": {
                        "mean": round(sum(apart) / len(apart), 6),
                        **{key: round(value, 6) for key, value in quantiles(apart).items()},
                    },
                    "greedy_replies_that_differ": sum(
                        ours[0] != exact for ours, exact in zip(likeliest, best, strict=True)
                    ),
                    "runner_mib": round(memory / 2**20),
                }
            )
            print(json.dumps(results[-1]), flush=True)
    record(
        "precision",
        {
            "model": name,
            "replies": COMPLETIONS,
            "greedy_replies": len(ASKED),
            "tokens": sum(map(len, truth)),
            "results": results,
            "load_average": os.getloadavg()[1],
        },
    )


if __name__ == "__main__":
    main()
