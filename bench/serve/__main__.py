"""Our service beside other servers on the same weights: streaming chat at 1, 8 and 32 clients, and a second turn.

    python -m bench.serve [--groups smollm2-f16 pocket] [--rounds 5] [--without vLLM]

All servers of a group are started and warmed up, and then wait. A round asks each of them, one after the other, in an
order that changes. Every cell is in bench/results/serve.json as soon as it ends. Started again, it goes on there.
vLLM needs a virtual environment of its own (`make bench-serve`); without one it is left out.
"""

import argparse
import contextlib
import json
import os
import shlex
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.record import RESULTS, commit, machine
from bench.serve.answers import Answer, Ask, ServerFailed
from bench.serve.cells import KEY, Results, numbers_of
from bench.serve.models import SAMPLING, context_length, endless
from bench.serve.processes import cpu_seconds, memory_mib
from bench.serve.scenarios import SCENARIOS, Scenario, warm_up
from bench.serve.servers import MOST_CLIENTS, ROOT, SERVERS, Server, Surroundings
from policy.cache import cache_folder

GROUPS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "smollm2-f16": (
        "smollm2",
        [
            ("attune auto", "f16"),
            ("attune llamacpp", "f16"),
            ("attune openvino", "f16"),
            ("attune transformers", "f32"),
            ("llama.cpp", "f16"),
            ("OpenVINO GenAI", "f16"),
            ("OpenVINO GenAI float32", "f16"),
            ("transformers serve", "f32"),
            ("vLLM", "bf16"),
        ],
    ),
    "smollm2-q8_0": (
        "smollm2",
        [
            ("attune auto", "q8_0"),
            ("attune llamacpp", "q8_0"),
            ("attune openvino", "q8_0"),
            ("llama.cpp", "q8_0"),
            ("OpenVINO GenAI", "q8_0"),
            ("OpenVINO GenAI float32", "q8_0"),
        ],
    ),
    "pocket": (
        "pocket",
        [
            ("attune auto", "f16"),
            ("attune llamacpp", "f32"),
            ("attune openvino", "f16"),
            ("attune transformers", "f32"),
            ("llama.cpp", "f32"),
            ("llama.cpp", "f16"),
            ("OpenVINO GenAI", "f16"),
            ("OpenVINO GenAI float32", "f16"),
            ("transformers serve", "f32"),
            ("vLLM", "bf16"),
        ],
    ),
    "random-0.5b": (
        "random-0.5b",
        [
            ("attune auto", "q8_0"),
            ("attune llamacpp", "q8_0"),
            ("attune openvino", "q8_0"),
            ("llama.cpp", "q8_0"),
            ("transformers serve", "bf16"),
            ("vLLM", "bf16"),
        ],
    ),
}
SETTLE_S = 0.2  # after the last token: what a server does then belongs to the answer
VLLM = ROOT / ".venv-vllm" / "bin" / "python"


class Bench:
    """One group's servers, measured in rounds. `servers` are by their name with the weight type."""

    def __init__(self, group: str, servers: dict[str, Server], results: Results, context: int) -> None:
        self.group, self.servers, self.results, self.context = group, servers, results, context
        self._commit = commit()

    def round(self, number: int, scenarios: Sequence[Scenario]) -> None:
        """Measure the cells of a round that are not there yet, in an order of its own."""
        names = list(self.servers)
        first = number % len(names)
        order = [*names[first:], *names[:first]][:: 1 if number % 2 else -1]
        for scenario in scenarios:
            for name in order:
                key = (self.group, name, scenario.name, number)
                if key in self.results or not self.fits(scenario):
                    continue
                try:
                    cell = self.measure(name, scenario, number)
                except (ServerFailed, OSError) as error:
                    self.results.add_failure(key, str(error))
                    continue
                self.results.add(dict(zip(KEY, key, strict=True)) | cell)
                print(*key, cell["tokens_per_s"], "tokens/s", cell["first_ms"]["median"], "ms", flush=True)

    def fits(self, scenario: Scenario) -> bool:
        """Whether the model's context holds the scenario's conversation."""
        return scenario.history * 1.25 <= self.context

    def measure(self, name: str, scenario: Scenario, number: int) -> dict[str, Any]:
        """Return one cell. Raises ServerFailed where an answer is not as long as asked for."""
        server, turns = self.servers[name], list[list[Answer]]()
        others = [one.pid for other, one in self.servers.items() if other != name]
        cpu, idle = cpu_seconds(server.pid), sum(map(cpu_seconds, others))
        began, own = time.monotonic(), time.process_time()
        for turn in scenario.turns(number):
            asks = turn(turns[-1] if turns else [])
            turns.append(asked(server, asks, name))
        own = time.process_time() - own
        time.sleep(SETTLE_S)
        lasted, numbers = time.monotonic() - began, numbers_of(turns)
        return numbers | {
            "cpu_ms_per_token": round(1000 * (cpu_seconds(server.pid) - cpu) / numbers["tokens"], 3),
            "memory_mib": round(memory_mib(server.pid), 1),
            "others_cpu": round((sum(map(cpu_seconds, others)) - idle) / lasted, 4),
            "client_cpu": round(own / lasted, 4),
            "load_average": round(os.getloadavg()[0], 2),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": self._commit,
        }


def asked(server: Server, asks: Sequence[Ask], name: str) -> list[Answer]:
    """Return a server's answers. Raises ServerFailed where one is not as long as asked for."""
    answers = server.ask(asks)
    for answer, one in zip(answers, asks, strict=True):
        if answer.tokens != one.max_tokens:
            raise ServerFailed(f"{name} gave {answer.tokens} tokens where {one.max_tokens} were asked for")
    return answers


def start(
    stack: contextlib.ExitStack, wanted: Sequence[tuple[str, str]], around: Surroundings, results: Results, group: str
) -> dict[str, Server]:
    """Start and warm up servers; return those that answer. Raises ServerFailed where they count prompts otherwise."""
    servers: dict[str, Server] = {}
    counted: dict[str, int] = {}
    for kind, weights in wanted:
        name, began = f"{kind}, {weights}", time.monotonic()
        scratch = around.scratch / name.replace(" ", "-").replace(",", "")
        try:
            server = stack.enter_context(SERVERS[kind](weights, replace(around, scratch=scratch)))
            ready_s = time.monotonic() - began
            asked(server, warm_up(1), name)
            counted[name] = sum(answer.prompt_tokens for answer in asked(server, warm_up(MOST_CLIENTS), name))
        except (ServerFailed, OSError) as error:
            results.add_failure((group, name, "start", 0), str(error))
            continue
        servers[name] = server
        seen = {"ready_s": round(ready_s, 2), "memory_mib": round(memory_mib(servers[name].pid), 1)}
        results.add_start(group, name, seen)
        print(group, name, json.dumps(seen), flush=True)
    if len(set(counted.values())) > 1:
        raise ServerFailed(f"the same prompts have other lengths: {counted}")
    return servers


def head(rounds: int, threads: int) -> dict[str, Any]:
    """Return what describes the run."""
    packages = ("xllamacpp", "openvino-genai", "transformers", "torch")
    return {
        "command": shlex.join(["python", "-m", "bench.serve"]),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "rounds": rounds,
        "threads": threads,
        "sampling": SAMPLING,
        "scenarios": [vars(scenario) for scenario in SCENARIOS],
        "packages": {name: version(name) for name in packages},
    }


def _end(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def main() -> None:
    """Measure, and write bench/results/serve.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--scenarios", nargs="+", choices=[one.name for one in SCENARIOS])
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS), help="only these")
    parser.add_argument("--without", nargs="+", choices=SERVERS, default=[], help="not these")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vllm-python", type=Path, default=VLLM, help="Python of the virtual environment with vLLM")
    parser.add_argument("--out", type=Path, default=RESULTS / "serve.json")
    parser.add_argument("--threads", type=int, default=0, help="of each server, 1 on a busy machine; 0: its own choice")
    parser.add_argument("--work", type=Path, default=cache_folder() / "bench-serve", help="folder for copied models")
    given = parser.parse_args()
    for ending in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ending, _end)  # so that the servers end too
    results = Results(given.out, head(given.rounds, given.threads))
    scenarios = [one for one in SCENARIOS if not given.scenarios or one.name in given.scenarios]
    left_out = {*given.without} | (set() if given.vllm_python.exists() else {"vLLM"})
    for group in given.groups:
        model, servers = GROUPS[group]
        wanted = [one for one in servers if one[0] in given.servers and one[0] not in left_out]
        folder = endless(model, given.work)
        with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
            around = Surroundings(folder, Path(scratch), str(given.vllm_python.absolute()), given.threads)
            bench = Bench(group, start(stack, wanted, around, results, group), results, context_length(folder))
            for number in range(1, given.rounds + 1):
                bench.round(number, scenarios)


if __name__ == "__main__":
    main()
