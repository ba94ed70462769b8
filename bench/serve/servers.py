"""The servers that are compared: how each is started, and how it is asked. All may run at once, and idle ones wait."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import httpx

from bench.serve.answers import Answer, Ask, ServerFailed
from bench.serve.client import ask_at_once
from bench.serve.models import SAMPLING, context_length, gguf_of, ir_of

ROOT = Path(__file__).parents[2]
START_S = 900.0  # on a busy machine vLLM's imports alone take minutes
POLL_S = 0.1
END_S = 30.0
SPINNING = ("OMP_", "GOMP_", "KMP_")  # how threads wait is each server's own choice
MOST_CLIENTS = 32
PAGES, BATCH = 64, 1024  # of transformers' server: pages of 256 tokens, and tokens of a step
LONGEST = 4096  # tokens of a conversation that vLLM makes room for
TOKENS = 12_288  # that llama.cpp's server holds for all clients: 32 of 200, beside a long conversation


class Server(Protocol):
    """A server that runs. `pid` is the root of its processes."""

    pid: int

    def ask(self, asks: Sequence[Ask]) -> list[Answer]:
        """Ask all at once; return the answers in the same order."""
        ...


@dataclass(frozen=True)
class Surroundings:
    """What a server gets: the model, a folder for what it writes, the Python that has vLLM, threads (0: its own)."""

    folder: Path
    scratch: Path
    vllm_python: str = ""
    threads: int = 0


@dataclass
class HttpServer:
    """A server with OpenAI's streaming chat. `fields` are more of a request's; None takes one away."""

    pid: int
    url: str
    model: str
    fields: dict[str, Any] = field(default_factory=dict)

    def ask(self, asks: Sequence[Ask]) -> list[Answer]:
        """See Server."""
        return ask_at_once(self.url, "/v1/chat/completions", [self._body(one) for one in asks])

    def _body(self, asked: Ask) -> dict[str, Any]:
        stream = {"stream": True, "stream_options": {"include_usage": True}}
        limits = {"messages": asked.messages, "max_tokens": asked.max_tokens, "seed": asked.seed}
        body = {"model": self.model, **limits, **SAMPLING, **stream, **self.fields}
        return {name: value for name, value in body.items() if value is not None}


class BareServer:
    """A process that answers lists of prompts as token ids, over pipes."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        from policy.chat import load_tokenizer

        self.pid, self._process, self._tokenizer = process.pid, process, load_tokenizer(str(folder))

    def ask(self, asks: Sequence[Ask]) -> list[Answer]:
        """See Server."""
        from policy.chat import decode, render_prompt

        prompts = [render_prompt(self._tokenizer, one.messages) for one in asks]
        requests = [
            {"prompt_ids": prompt, "max_tokens": one.max_tokens, "seed": one.seed, **SAMPLING}
            for prompt, one in zip(prompts, asks, strict=True)
        ]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(requests), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise ServerFailed("OpenVINO GenAI ended without an answer; its log says why")
        return [
            Answer(
                one["began"],
                tuple(one["arrivals"]),
                len(one["ids"]),
                len(prompt),
                decode(self._tokenizer, one["ids"]),
            )
            for one, prompt in zip(json.loads(line), prompts, strict=True)
        ]


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@contextlib.contextmanager
def attune(runner: str, weights: str, around: Surroundings) -> Iterator[Server]:
    """Our service with a runner, without the learner."""
    port, flags = free_port(), ["--engine.runner", runner, "--engine.threads", str(around.threads)]
    flags += [] if weights in ("f16", "f32") else ["--engine.quantize", weights]
    command = [sys.executable, "-m", "service", "serve", "--port", str(port), "--data", str(around.scratch / "data")]
    with _http([*command, "--model", str(around.folder), "--no-learner", *flags], port, "/readyz", around) as pid:
        yield HttpServer(pid, f"http://127.0.0.1:{port}", "attune")


@contextlib.contextmanager
def llama_cpp(weights: str, around: Surroundings) -> Iterator[Server]:
    """llama.cpp's server."""
    port, script = free_port(), Path(__file__).with_name("llama_server.py")
    numbers = [str(number) for number in (port, MOST_CLIENTS, TOKENS, around.threads)]
    with _http(
        [sys.executable, str(script), str(gguf_of(around.folder, weights)), *numbers], port, "/health", around
    ) as pid:
        yield HttpServer(pid, f"http://127.0.0.1:{port}", "llama.cpp", {"min_p": 0.0})


@contextlib.contextmanager
def transformers_serve(weights: str, around: Surroundings) -> Iterator[Server]:
    """The server of transformers, with continuous batching."""
    port, dtype = free_port(), {"f32": "float32", "bf16": "bfloat16"}[weights]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(around.folder)]
    command += ["--continuous-batching", "--device", "cpu", "--dtype", dtype, "--host", "127.0.0.1"]
    command += ["--cb-num-blocks", str(PAGES), "--cb-max-batch-tokens", str(BATCH)]  # else it takes most of the memory
    with _http([*command, "--port", str(port)], port, "/health", around) as pid:
        more = dict.fromkeys(("top_k", "stream_options"))  # it takes the first from the model, and always counts
        yield HttpServer(pid, f"http://127.0.0.1:{port}", str(around.folder), more)


@contextlib.contextmanager
def vllm(weights: str, around: Surroundings) -> Iterator[Server]:
    """vLLM's server for processors, from a virtual environment of its own."""
    port, dtype = free_port(), {"f32": "float32", "bf16": "bfloat16"}[weights]
    command = [around.vllm_python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(around.folder)]
    command += ["--max-model-len", str(min(LONGEST, context_length(around.folder)))]
    command += ["--dtype", dtype, "--host", "127.0.0.1", "--port", str(port)]
    more = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    with _http(command, port, "/health", around, more) as pid:
        yield HttpServer(pid, f"http://127.0.0.1:{port}", str(around.folder), {"ignore_eos": True})


@contextlib.contextmanager
def openvino_genai(precision: str, weights: str, around: Surroundings) -> Iterator[Server]:
    """OpenVINO GenAI in a process, without HTTP."""
    script = Path(__file__).with_name("bare_openvino.py")
    with _process(
        [sys.executable, str(script), str(ir_of(around.folder, weights)), str(around.threads), precision],
        around,
        pipes=True,
    ) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise ServerFailed(f"it did not start; the end of its log:\n{_last_lines(around)}")
        yield BareServer(process, around.folder)


Start = Callable[[str, Surroundings], contextlib.AbstractContextManager[Server]]
SERVERS: dict[str, Start] = {
    **{f"attune {runner}": partial(attune, runner) for runner in ("llamacpp", "openvino", "transformers", "auto")},
    "llama.cpp": llama_cpp,
    "transformers serve": transformers_serve,
    "vLLM": vllm,
    "OpenVINO GenAI": partial(openvino_genai, "own"),
    "OpenVINO GenAI float32": partial(openvino_genai, "float32"),
}


@contextlib.contextmanager
def _http(
    command: list[str], port: int, path: str, around: Surroundings, more: dict[str, str] | None = None
) -> Iterator[int]:
    """Run a server and wait until it answers 200 at `path`; give its process id. Raises ServerFailed."""
    url = f"http://127.0.0.1:{port}"
    with _process(command, around, more=more) as process, httpx.Client(base_url=url, timeout=5) as http:
        deadline = time.monotonic() + START_S
        while not _answers(http, path):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerFailed(f"it did not start; the end of its log:\n{_last_lines(around)}")
            time.sleep(POLL_S)
        yield process.pid


def _answers(http: httpx.Client, path: str) -> bool:
    try:
        return http.get(path).status_code == 200
    except httpx.HTTPError:
        return False


@contextlib.contextmanager
def _process(
    command: list[str], around: Surroundings, *, pipes: bool = False, more: dict[str, str] | None = None
) -> "Iterator[subprocess.Popen[str]]":
    """Run a process with its log in the scratch folder, and end it."""
    around.scratch.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SPINNING)}
    chosen = {"OMP_NUM_THREADS": str(around.threads)} if around.threads else {}
    pipe = subprocess.PIPE if pipes else None
    with (around.scratch / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**kept, **chosen, "HF_HUB_OFFLINE": "1", **(more or {})},
            text=True,
            stdin=pipe,
            stdout=pipe or log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _last_lines(around: Surroundings) -> str:
    return (around.scratch / "log").read_text(errors="replace")[-2000:]
