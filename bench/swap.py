"""Swaps under load: failed answers, tokens of another version than their answer names, and waiting times.

    python -m bench.swap [--model pocket-nano] [--swaps 50] [--streams 32]

It starts a service and keeps `streams` clients asking with mixed settings. Meanwhile it makes one version after the
other live, as the learner does: a folder with an adapter, then a row that passed its gate. Afterwards torch (float32)
scores every recorded answer token by token with the weights of the version that it names. It counts answers that do not
fit their version, or that fit another one too. It also measures the time from each publish to the first token of the
new version, and counts what the runner wrote to its cache for it: a base model once, and a file for each version.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from safetensors.numpy import save_file
from sqlite_utils import Database

from bench.record import quantiles, record
from policy.chat import load_tokenizer, render_prompt
from policy.logprobs import score_rows
from policy.model import load_model, model_config, model_digest, resolve_model
from policy.row_layout import Row
from policy.versions import Fingerprint, write_version
from policy.weights import merged_tensors
from store.completions import Completion, get_completion
from store.database import connect, transaction
from store.ids import now
from store.versions import Version, add_version, live_version, next_version_number, set_verdict

ASKED = [
    "Hello!",
    "Who are you?",
    "What is 7 + 5?",
    "Tell me a joke.",
    "Name three animals.",
    "你好",
    "Spell the word house.",
    "What colour is the sky?",
]
VERSION_FILE = re.compile(r"(adapter-|merged-)?[0-9a-f]{32}\b")  # in the cache: its name is the version's digest
NEIGHBORS = 20  # answers of each version that are also scored with another one's weights
TOLERANCE = 0.02  # nats per token between the runner's float16 weights and torch's float32
SETTINGS: list[dict[str, Any]] = [
    {"temperature": 1.0, "max_tokens": 96, "stream": True, "logprobs": True},
    {"temperature": 0.0, "max_tokens": 64, "stream": True},
    {"temperature": 0.7, "top_p": 0.9, "max_tokens": 48, "stream": True, "stream_options": {"include_usage": True}},
    {"temperature": 1.0, "top_k": 40, "max_tokens": 64, "n": 2},
    {"temperature": 1.0, "max_tokens": 128, "stream": True, "stop": [".", "\n"], "presence_penalty": 0.5},
    {"temperature": 1.2, "max_tokens": 32, "frequency_penalty": 0.5, "seed": 7},
]


@dataclass
class Seen:
    """What the clients saw. `gaps` are (time, seconds between two chunks of one answer)."""

    answers: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    mixed_names: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    gaps: list[tuple[float, float]] = field(default_factory=list)
    first_s: list[tuple[float, float]] = field(default_factory=list)
    swap_first_s: list[float] = field(default_factory=list)  # from publish to the first token of the new version
    written: set[str] = field(default_factory=set)  # names that the runner's cache had after a swap


async def client(http: httpx.AsyncClient, seen: Seen, stop: asyncio.Event, index: int) -> None:
    """Ask until the stop; an answer under way is read to its end."""
    rng = random.Random(index)
    while not stop.is_set():
        body = {
            "model": "attune",
            "messages": [{"role": "user", "content": rng.choice(ASKED)}],
            **SETTINGS[rng.randrange(len(SETTINGS))],
        }
        try:
            names = [name async for name in ask(http, body, seen)]
            seen.answers[names[0]] += 1
            if len(set(names)) > 1:
                seen.mixed_names.append(f"{names}")
        except (httpx.HTTPError, RuntimeError, ValueError, IndexError) as error:
            seen.failed.append(f"{type(error).__name__}: {error}")


async def ask(http: httpx.AsyncClient, body: dict[str, Any], seen: Seen) -> AsyncIterator[str]:
    """Send one request; yield the version that each chunk of the answer names."""
    began = time.monotonic()
    if not body.get("stream"):
        response = await http.post("/v1/chat/completions", json=body)
        if response.status_code != 200:
            raise RuntimeError(f"{response.status_code} {response.text[:200]}")
        seen.ids.append(response.json()["id"])
        yield response.json()["model"]
        return
    last, is_done, completion_id = None, False, ""
    async with http.stream("POST", "/v1/chat/completions", json=body) as stream:
        if stream.status_code != 200:
            raise RuntimeError(f"{stream.status_code} {(await stream.aread())[:200]!r}")
        yield f"attune@{stream.headers['X-Attune-Version']}"
        async for line in stream.aiter_lines():
            if line == "data: [DONE]":
                is_done = True
            elif line.startswith("data: "):
                chunk = json.loads(line[6:])
                if "error" in chunk:
                    raise RuntimeError(chunk["error"]["message"])
                completion_id = chunk["id"]
                yield chunk["model"]
                if chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                    at = time.monotonic()
                    (seen.first_s if last is None else seen.gaps).append((at, at - (began if last is None else last)))
                    last = at
    if not is_done:
        raise RuntimeError("the stream ended without [DONE]")
    seen.ids.append(completion_id)


def write_adapter(folder: Path, config: dict[str, Any], seed: int, scale: float) -> None:
    """Write a random LoRA adapter (rank 4) on the attention's projections, in PEFT's form."""
    rng, size = np.random.default_rng(seed), config["hidden_size"]
    head = config.get("head_dim") or size // config["num_attention_heads"]
    rows = {"q_proj": config["num_attention_heads"] * head, "v_proj": config["num_key_value_heads"] * head}
    tensors = {}
    for layer, (name, out) in itertools.product(range(config["num_hidden_layers"]), rows.items()):
        at = f"base_model.model.model.layers.{layer}.self_attn.{name}"
        tensors[f"{at}.lora_A.weight"] = (scale * rng.standard_normal((4, size))).astype(np.float32)
        tensors[f"{at}.lora_B.weight"] = (scale * rng.standard_normal((out, 4))).astype(np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    kept = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": sorted(rows),
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(kept))


class Weights:
    """One torch model that takes each version's weights in turn."""

    def __init__(self, name: str) -> None:
        self.model = load_model(name, "cpu", "float32")
        self.base = resolve_model(name)

    def put(self, adapter: Path | None) -> None:
        """Load the weights of the base model with this adapter."""
        tensors = {
            key: torch.from_numpy(np.array(tensor, dtype=np.float32))
            for key, tensor in merged_tensors(self.base, adapter)
        }
        self.model.load_state_dict(tensors, strict=False)

    def differences(self, completions: Sequence[Completion]) -> list[float]:
        """Return each completion's largest difference (nats) of a recorded log-probability from these weights."""
        scored = score_rows(
            self.model, [Row(completion.prompt_ids, [completion.completion_ids]) for completion in completions]
        )
        recorded = [torch.tensor(completion.logps) for completion in completions]
        return [(one[0] - known).abs().max().item() for one, known in zip(scored, recorded, strict=True)]

    @torch.no_grad()
    def fingerprint(self, prompt: list[int]) -> Fingerprint:
        """Return the fingerprint of these weights: the 32 likeliest tokens after a prompt."""
        top = self.model(input_ids=torch.tensor([prompt])).logits[0, -1].float().log_softmax(-1).topk(32)
        return Fingerprint(prompt, top.indices.tolist(), top.values.tolist())


class Publisher:
    """Publishes versions in the data folder, as the learner does."""

    def __init__(self, data: Path, model: str, scale: float) -> None:
        self.data, self.name, self.scale = data, model, scale
        self.weights, self.config, self.digest = Weights(model), model_config(model), model_digest(model)
        self.prompt = render_prompt(load_tokenizer(model), [{"role": "user", "content": "Hello!"}])

    def folder(self, number: int) -> Path:
        return self.data / "versions" / f"{number:06d}"

    def write(self, number: int) -> str:
        """Write one version's folder and return its digest."""
        with tempfile.TemporaryDirectory() as scratch:
            write_adapter(Path(scratch), self.config, number, self.scale)
            self.weights.put(Path(scratch))
            fingerprint = self.weights.fingerprint(self.prompt)
        manifest = write_version(
            self.folder(number),
            version=number,
            parent=number - 1,
            base_model=self.name,
            base_digest=self.digest,
            save=lambda folder: write_adapter(folder, self.config, number, self.scale),
            fingerprint=fingerprint,
            seed=number,
            settings={},
        )
        return manifest.digest

    def announce(self, db: Database, number: int, digest: str) -> None:
        """Add the row of a version that passed its gate."""
        with transaction(db):
            assert next_version_number(db) == number
            folder = str(self.folder(number).relative_to(self.data))
            add_version(
                db, Version(number, live_version(db).number, "candidate", digest, folder, 0, "bench", now()), ()
            )
            set_verdict(db, number, True, {"passed": True, "checks": [], "reasons": []})


async def live_at(db: Database, number: int) -> float:
    """Wait until a version is live; return when it was."""
    began = time.monotonic()
    while live_version(db).number != number:
        await asyncio.sleep(0.02)
        if time.monotonic() - began > 120:
            raise SystemExit(f"version {number} was not live after 120 s")
    return time.monotonic()


async def answered_at(http: httpx.AsyncClient, number: int) -> float:
    """Ask every 0.05 s until a version answers; return when its first token came."""
    body = {"model": "attune", "messages": [{"role": "user", "content": ASKED[0]}], "max_tokens": 2, "stream": True}
    while True:
        seen = Seen()
        names = [name async for name in ask(http, body, seen)]
        if names[0] == f"attune@{number}" and seen.first_s:
            return seen.first_s[0][0]
        await asyncio.sleep(0.05)


def cached(data: Path) -> set[str]:
    """Return the names of what the runner keeps in the cache folder: models, adapters, ..."""
    cache = data / "cache"
    return {path.name for folder in (cache, cache / "llamacpp") if folder.is_dir() for path in folder.iterdir()}


async def measure(
    url: str, db: Database, publisher: Publisher, digests: list[str], streams: int, steady_s: float
) -> tuple[Seen, Any]:
    """Keep clients asking, first without and then with swaps; return what they saw and the times of the swaps."""
    seen, stop, windows = Seen(), asyncio.Event(), []
    limits = httpx.Limits(max_connections=streams + 4, max_keepalive_connections=streams + 4)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as http:
        clients = [asyncio.create_task(client(http, seen, stop, index)) for index in range(streams)]
        await asyncio.sleep(steady_s)
        steady_until = time.monotonic()
        for number, digest in enumerate(digests, 1):
            began = time.monotonic()
            publisher.announce(db, number, digest)
            live, answered = await asyncio.gather(live_at(db, number), answered_at(http, number))
            windows.append((began, live))
            seen.swap_first_s.append(answered - began)
            seen.written |= cached(publisher.data)
            await asyncio.sleep(4.0)  # for the next spare worker
        stop.set()
        await asyncio.gather(*clients)
    return seen, (steady_until, windows)


def score_again(publisher: Publisher, completions: list[Completion]) -> dict[str, Any]:
    """Score every answer with the weights of its version, and some with those of a neighbor, which must not fit."""
    by_version: dict[int, list[Completion]] = {}
    for completion in completions:
        if completion.completion_ids:
            by_version.setdefault(completion.version or 0, []).append(completion)
    own: list[float] = []
    other: list[float] = []
    for number in range(max(by_version) + 1):
        publisher.weights.put(publisher.folder(number) if number > 0 else None)
        own += publisher.weights.differences(by_version.get(number, []))
        other += publisher.weights.differences(by_version.get(number - 1, by_version.get(number + 1, []))[:NEIGHBORS])
    return {
        "answers_scored": len(own),
        "tokens_scored": sum(len(completion.completion_ids) for found in by_version.values() for completion in found),
        "not_of_their_version": sum(not difference <= TOLERANCE for difference in own),
        "worst_difference_nats": round(max(own), 5),
        "tolerance_nats": TOLERANCE,
        "scored_with_a_neighbour": len(other),
        "fit_the_neighbour_too": sum(difference <= TOLERANCE for difference in other),
        "median_difference_to_neighbour_nats": round(sorted(other)[len(other) // 2], 3),
    }


@contextlib.contextmanager
def service(data: Path, model: str, threads: int = 0, runner: str = "auto") -> Any:
    """Run a service on a free port, with the learner off; give its URL and its process id."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "service",
        "serve",
        "--port",
        str(port),
        "--data",
        str(data),
        "--model",
        model,
        "--no-learner",
    ]
    command += ["--engine.threads", str(threads), "--engine.runner", runner]
    process = subprocess.Popen(
        command, cwd=Path(__file__).parent.parent, env={**os.environ, "HF_HUB_OFFLINE": "1"}, stdout=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(url + "/readyz").status_code == 200:
                    break
            if process.poll() is not None:
                raise SystemExit("the service did not start")
            time.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(60)


def main() -> None:
    """Measure once, print, and write bench/results/swap.json, for another model than the default swap_MODEL.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pocket-nano")
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--steady", type=float, default=30.0, help="seconds of load before the first swap")
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        help="CPU threads of each version's runner; 1 on a busy machine",
    )
    parser.add_argument("--runner", default="auto", help="engine.runner of the service")
    parser.add_argument("--scale", type=float, default=0.2, help="size of the random adapters' entries")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        publisher = Publisher(data, asked.model, asked.scale)
        digests = [publisher.write(number) for number in range(1, asked.swaps + 1)]
        with service(data, asked.model, asked.threads, asked.runner) as (url, _):
            db = connect(data)
            seen, (steady_until, windows) = asyncio.run(
                measure(url, db, publisher, digests, asked.streams, asked.steady)
            )
        completions = [
            get_completion(db, row["id"], row["choice"]) for row in list(db.query("SELECT id, choice FROM completions"))
        ]
        scored = score_again(publisher, completions)
        db.close()

    def in_swap(at: float) -> bool:
        return any(began <= at <= ended + 0.5 for began, ended in windows)

    def spread(values: list[float]) -> dict[str, float]:
        return {name: round(value * 1000, 2) for name, value in quantiles(values).items()} if values else {}

    numbers = {
        "model": asked.model,
        "swaps": len(windows),
        "runner": asked.runner,
        "streams": asked.streams,
        "threads": asked.threads,
        "answers": sum(seen.answers.values()),
        "versions_that_answered": len(seen.answers),
        "failed": len(seen.failed),
        "failures": seen.failed[:5],
        "mixed_names": len(seen.mixed_names),
        "scored_again": scored,
        "gap_ms_steady": spread([gap for at, gap in seen.gaps if at <= steady_until]),
        "gap_ms_during_swaps": spread([gap for at, gap in seen.gaps if in_swap(at)]),
        "first_piece_ms_steady": spread([s for at, s in seen.first_s if at <= steady_until]),
        "first_piece_ms_during_swaps": spread([s for at, s in seen.first_s if in_swap(at)]),
        "swap_s": {
            name: round(value, 2) for name, value in quantiles([ended - began for began, ended in windows]).items()
        },
        "publish_to_first_token_s": {name: round(value, 2) for name, value in quantiles(seen.swap_first_s).items()},
        "base_models_written": sum(name.startswith("base-") for name in seen.written),
        "versions_written": sum(bool(VERSION_FILE.match(name)) for name in seen.written),
        "load_average": os.getloadavg()[1],
    }
    print(json.dumps(numbers, indent=1))
    record("swap" if asked.model == "pocket-nano" else f"swap_{asked.model}", numbers)


if __name__ == "__main__":
    main()
