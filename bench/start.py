"""The time from `attune serve` to its first answer: ready (`/readyz`) and answered, at the second start and later.

    python -m bench.start [--models pocket smollm2] [--rounds 5]

The first start on a fresh data folder fills caches and does not count. Models take turns. Times are seconds, CPU time
is that of the service and the processes below it until it is ready.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from bench.record import quantiles, record
from bench.service_process import cpu_s, running


def start_once(data: Path, model: str) -> dict[str, float]:
    """Start and end a service once; return its times."""
    began = time.monotonic()
    with running(data, model) as service:
        processes = service.processes()
        cpu = sum(cpu_s(pid) for pid in processes)
        body = {"model": "attune", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 8}
        httpx.post(service.url + "/v1/chat/completions", json=body, timeout=60).raise_for_status()
        return {"ready_s": service.ready_s, "answered_s": time.monotonic() - began, "cpu_s": cpu}


def main() -> None:
    """Measure, print, and write bench/results/start.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["pocket", "smollm2"])
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    seen: dict[str, list[dict[str, float]]] = {model: [] for model in asked.models}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(asked.rounds + 1):
            for model in asked.models:
                times = start_once(Path(folder) / model, model)
                print(
                    model, "first start" if turn == 0 else "", {name: round(value, 2) for name, value in times.items()}
                )
                if turn:
                    seen[model].append(times)
    numbers: dict[str, Any] = {
        model: {name: rounded(quantiles([one[name] for one in times])) for name in times[0]}
        for model, times in seen.items()
    }
    print(numbers)
    record("start", {"rounds": asked.rounds, "load_average": round(os.getloadavg()[0], 1), "models": numbers})


def rounded(values: dict[str, float]) -> dict[str, float]:
    """Return the values with two digits behind the point."""
    return {name: round(value, 2) for name, value in values.items()}


if __name__ == "__main__":
    main()
