"""What answers lose while the learner works: gaps between tokens of one stream, with the learner and without it.

    python -m bench.beside_learner [--models pocket smollm2] [--rounds 5] [--seconds 10]

A service gets one piece of feedback, so that its learner makes anchors ("preparing"), and then enough for an update of
endless steps ("training"). In each of the two, windows with the learner at work and windows with its process stopped
(SIGSTOP) take turns while one client streams answers without a pause. A round is one window of each, and its ratio that
of the two median gaps. Times are seconds; `cores` is the learner's CPU time per second in its windows.
"""

import argparse
import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bench.record import quantiles, record
from bench.service_process import ServiceProcess, cpu_s, running

ENDLESS = ["--learner.steps", "10000", "--learner.passes", "10000", "--learner.anchors.count", "4096"]
ASKED = "Tell me a long story about a ship, a storm and a lighthouse."
MOST_TOKENS = 200
SETTLE_S = 1.0  # after the learner is stopped or goes on, before gaps count
WAIT_S = 900.0  # for a state of the learner


@dataclass
class Windows:
    """What was seen in one state of the learner; `on` and `off` hold one median per round."""

    on: list[float] = field(default_factory=list)
    off: list[float] = field(default_factory=list)
    p99_on: list[float] = field(default_factory=list)
    p99_off: list[float] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)

    def numbers(self) -> dict[str, Any]:
        """Return ratios per round and the median gaps."""
        ratios = [on / off for on, off in zip(self.on, self.off, strict=True)]
        late = [on / off for on, off in zip(self.p99_on, self.p99_off, strict=True)]
        found = {
            "p50_ratio": ratios,
            "p99_ratio": late,
            "gap_on_s": self.on,
            "gap_off_s": self.off,
            "cores": self.cores,
        }
        return {
            name: {at: round(value, 4) for at, value in quantiles(values).items()} for name, values in found.items()
        }


def gaps(http: httpx.Client, seconds: float) -> list[float]:
    """Stream answers for a while; return the gaps between chunks with text, those after `SETTLE_S`."""
    began, found = time.monotonic(), []
    seed = 0
    while time.monotonic() - began < seconds + SETTLE_S:
        seed += 1
        body = {"model": "attune", "messages": [{"role": "user", "content": ASKED}], "stream": True, "seed": seed}
        before = None
        with http.stream("POST", "/v1/chat/completions", json=body | {"max_tokens": MOST_TOKENS}) as response:
            for line in response.iter_lines():
                if line.startswith("data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                    at = time.monotonic()
                    if before is not None and at - began > SETTLE_S:
                        found.append(at - before)
                    before = at
    return found


def choose(http: httpx.Client, count: int) -> None:
    """Answer comparisons until `count` choices of the shorter answer are on record."""
    done = 0
    while done < count:
        question = {"messages": [{"role": "user", "content": f"Name {done + 2} animals."}], "max_tokens": 48}
        shown = http.post("/v1/comparisons", json=question).raise_for_status().json()
        first, second = (len(candidate["content"]) for candidate in shown["candidates"])
        if first != second:
            choice = {"winner": "A" if first < second else "B"}
            http.post(f"/v1/comparisons/{shown['id']}/choice", json=choice).raise_for_status()
            done += 1


def await_state(http: httpx.Client, state: str, phase: str = "") -> None:
    """Wait until the learner is in a state, and in a phase of its update."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        learner = http.get("/v1/learner").json()
        if learner["state"] == state and (not phase or (learner["run"] or {}).get("phase") == phase):
            return
        time.sleep(0.2)
    raise SystemExit(f"the learner was not {state} {phase} within {WAIT_S:g} s")


@contextlib.contextmanager
def stopped(pid: int) -> Generator[None, None, None]:
    """A process that does nothing for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def measure(service: ServiceProcess, http: httpx.Client, rounds: int, seconds: float) -> dict[str, Any]:
    """Let windows with and without the learner take turns; return their numbers."""
    seen, learner = Windows(), service.learner
    for number in range(rounds):
        for is_on in (True, False) if number % 2 else (False, True):
            began, began_cpu_s = time.monotonic(), cpu_s(learner)
            with contextlib.nullcontext() if is_on else stopped(learner):
                found = quantiles(gaps(http, seconds))
            (seen.on if is_on else seen.off).append(found["median"])
            (seen.p99_on if is_on else seen.p99_off).append(found["p99"])
            if is_on:
                seen.cores.append((cpu_s(learner) - began_cpu_s) / (time.monotonic() - began))
    return seen.numbers()


def measure_model(model: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Return a model's numbers while the learner prepares and while it trains."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), model, ENDLESS) as service:
        http = httpx.Client(base_url=service.url, timeout=600)
        choose(http, 1)
        await_state(http, "preparing")
        preparing = measure(service, http, rounds, seconds)
        print(model, "preparing", preparing, flush=True)
        choose(http, 15)
        await_state(http, "running", "train")
        training = measure(service, http, rounds, seconds)
        print(model, "training", training, flush=True)
        return {"preparing": preparing, "training": training}


def main() -> None:
    """Measure, print, and write bench/results/beside_learner.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["pocket", "smollm2"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    asked = parser.parse_args()
    numbers = {model: measure_model(model, asked.rounds, asked.seconds) for model in asked.models}
    load = round(os.getloadavg()[0], 1)
    record(
        "beside_learner", {"rounds": asked.rounds, "seconds": asked.seconds, "load_average": load, "models": numbers}
    )


if __name__ == "__main__":
    main()
