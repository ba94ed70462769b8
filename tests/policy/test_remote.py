"""Failing runners on other machines: retries, the circuit breaker, error messages. A small server stands for vLLM."""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from policy.errors import RunnerFailed
from policy.runners.base import SamplingSettings, TokenDelta, VersionSource, generate_all
from policy.runners.remote import Breaker, jittered, readable, with_retries
from policy.runners.vllm import VllmRunner

CHUNK = {"choices": [{"token_ids": [9], "logprobs": {"token_logprobs": [-0.5]}, "finish_reason": None}]}
LAST = {"choices": [{"token_ids": [2], "logprobs": {"token_logprobs": [-0.25]}, "finish_reason": "stop"}]}


class Server(ThreadingHTTPServer):
    """Answers each completion request with an entry of `script`: a status, or chunks (`None` breaks the connection)."""

    daemon_threads = True

    def __init__(self) -> None:
        self.script: deque[Any] = deque()
        self.asked: list[dict[str, Any]] = []
        self.models = json.dumps({"data": [{"id": "base", "max_model_len": 512, "parent": None}]})
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        self._respond(200, self.server.models)

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        answer = self.server.script.popleft() if self.server.script else [CHUNK, LAST]
        if isinstance(answer, int):
            self._respond(answer, "busy with other things")
            return
        self.send_response(200)
        self.end_headers()
        for chunk in answer:
            if chunk is None:
                return
            if isinstance(chunk, bytes):
                self.wfile.write(chunk)
                continue
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def _respond(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield serving
        serving.shutdown()


@pytest.fixture
def runner(server: Server, models: Callable[[str], Path], tmp_path: Path) -> Iterator[VllmRunner]:
    made = VllmRunner(
        f"http://127.0.0.1:{server.server_port}", VersionSource(0, str(models("llama")), "digest", tmp_path)
    )
    yield made
    made.close()


def end_of(runner: VllmRunner, request_id: str = "r") -> TokenDelta:
    """Make one request and return the last delta."""
    deltas: list[TokenDelta] = []
    done = threading.Event()

    def take(delta: TokenDelta) -> None:
        deltas.append(delta)
        if delta.finish:
            done.set()

    runner.submit(request_id, [1, 4, 5], SamplingSettings(max_tokens=4, seed=1, end_ids=(2,)), take)
    assert done.wait(60)
    return deltas[-1]


def test_a_server_that_is_busy_for_a_moment_is_asked_again(server: Server, runner: VllmRunner) -> None:
    server.script.extend([503, 500])
    assert generate_all(runner, [[1, 4, 5]], [SamplingSettings(max_tokens=4, seed=1, end_ids=(2,))]) == [
        ([9, 2], [-0.5, -0.25], "stop")
    ]
    assert len(server.asked) == 3
    assert server.asked[0] == server.asked[2]


def test_what_is_refused_is_not_asked_again_and_the_error_has_the_reason(server: Server, runner: VllmRunner) -> None:
    server.script.append(400)
    last = end_of(runner)
    assert (last.finish, len(server.asked)) == ("error", 1)
    assert "answered 400: busy with other things" in last.error


def test_a_stream_that_breaks_off_is_an_error_and_no_second_generation(server: Server, runner: VllmRunner) -> None:
    server.script.append([CHUNK, None])
    last = end_of(runner)
    assert (last.finish, len(server.asked)) == ("error", 1)
    assert "ended the stream early" in last.error
    server.script.append([{"error": {"message": "out of blocks"}}])
    assert "out of blocks" in end_of(runner, "again").error


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": "x"},
        {"choices": [None]},
        {"choices": [{"token_ids": 5}]},
        {"choices": [{"token_ids": [9], "logprobs": {"token_logprobs": 7}}]},
        {"error": "text"},
    ],
)
def test_a_chunk_of_another_shape_ends_its_generation_at_once(
    server: Server, runner: VllmRunner, chunk: dict[str, Any]
) -> None:
    server.script.append([chunk])
    assert end_of(runner).finish == "error"
    server.script.append([CHUNK, None])
    assert "ended the stream early" in end_of(runner, "next").error


def test_a_server_that_keeps_failing_is_given_a_rest(server: Server, runner: VllmRunner) -> None:
    server.script.extend([503] * 6)
    for number in range(2):  # three tries each: five failures open the circuit
        assert end_of(runner, f"r{number}").finish == "error"
    asked = len(server.asked)
    with pytest.raises(RunnerFailed, match="times in a row; it is asked again in"):
        end_of(runner, "late")
    assert len(server.asked) == asked


def rested() -> Breaker:
    """Return a breaker that two failures opened and whose rest is over."""
    clock = [0.0]
    breaker = Breaker("the server", limit=2, rest_s=10.0, clock=lambda: clock[0])
    for number in range(2):
        breaker.check(f"{number}")
        breaker.failed()
    clock[0] = 9.0
    with pytest.raises(RunnerFailed, match="failed 2 times in a row; it is asked again in 1 s"):
        breaker.check("2")
    clock[0] = 10.5
    return breaker


def test_after_its_rest_one_caller_tries_and_the_others_wait() -> None:
    breaker = rested()
    breaker.check("a")
    with pytest.raises(RunnerFailed):
        breaker.check("b")
    breaker.check("a")  # an answer of two generations is one try
    breaker.succeeded()
    breaker.check("b")
    breaker.failed()
    breaker.check("c")


def test_a_try_without_an_outcome_passes_to_the_next_caller() -> None:
    breaker = rested()
    breaker.check("a")
    breaker.left_off("other")
    with pytest.raises(RunnerFailed):
        breaker.check("b")
    breaker.left_off("a")
    breaker.check("b")
    breaker.failed()
    breaker.left_off("b")  # its other request: the failure is recorded
    with pytest.raises(RunnerFailed):
        breaker.check("b")


@pytest.fixture
def tried_again(server: Server, runner: VllmRunner) -> VllmRunner:
    """A runner whose server failed five times and has had its rest."""
    server.script.extend([503] * 6)
    for number in range(2):
        end_of(runner, f"down{number}-0")
    server.script.clear()
    runner._breaker._open_until = 0.0
    return runner


def test_an_answer_of_several_generations_is_one_try(tried_again: VllmRunner) -> None:
    settings = [SamplingSettings(max_tokens=4, seed=seed, end_ids=(2,)) for seed in range(3)]
    assert [generation[2] for generation in generate_all(tried_again, [[1, 4, 5]] * 3, settings)] == ["stop"] * 3
    assert end_of(tried_again).finish == "stop"


def test_a_server_that_refuses_is_up(server: Server, tried_again: VllmRunner) -> None:
    server.script.append(400)
    assert "answered 400" in end_of(tried_again, "refused-0").error
    assert end_of(tried_again, "next-0").finish == "stop"


def test_who_leaves_during_the_try_leaves_it_to_the_next(tried_again: VllmRunner) -> None:
    deltas: list[TokenDelta] = []
    tried_again.submit("left-0", [1, 4, 5], SamplingSettings(max_tokens=4, seed=1, end_ids=(2,)), deltas.append)
    tried_again.cancel("left-0")
    assert end_of(tried_again, "next-0").finish == "stop"
    assert deltas[-1].finish in ("cancelled", "stop")
    assert tried_again.stats()["active"] == 0


def test_pauses_grow_and_differ() -> None:
    pauses = [[jittered(attempt) for attempt in range(4)] for _ in range(50)]
    assert all(0.1 * 2**index <= row[index] <= 0.2 * 2**index for row in pauses for index in range(4))
    assert len({row[0] for row in pauses}) > 40


def test_retries_end_with_the_last_error() -> None:
    tried = []

    async def attempt() -> None:
        tried.append(1)
        raise httpx.ConnectError("nobody there")

    with pytest.raises(httpx.ConnectError):
        asyncio.run(with_retries(attempt, base_s=0.001))
    assert len(tried) == 3
    assert readable("the server", httpx.ReadTimeout("slow")) == "the server did not answer in time"


def broken(**choice: Any) -> dict[str, Any]:
    return {"choices": [{"token_ids": [9], "logprobs": {"token_logprobs": [-0.5]}, "finish_reason": None, **choice}]}


@pytest.mark.parametrize(
    "nonsense",
    [
        b"data: {oops\n\n",
        b"data: {\xff}\n\n",
        b"<html>hello</html>\n",
        b"data: null\n\ndata: [1]\n\n",
        {"choices": {"a": 1}},
        {"choices": [None]},
        {"choices": [7]},
        broken(token_ids=["x"]),
        broken(token_ids=[10**9]),
        broken(token_ids=[True]),
        broken(logprobs={"token_logprobs": [None]}),
        broken(logprobs={"token_logprobs": [float("nan")]}),
        broken(logprobs=[1]),
        broken(finish_reason=["stop"]),
        {"error": "of another shape"},
    ],
)
def test_nonsense_ends_the_generation_at_once_and_counts_as_a_failure(
    nonsense: Any, server: Server, runner: VllmRunner
) -> None:
    server.script.append([CHUNK, nonsense])
    last = end_of(runner)
    assert (last.finish, len(server.asked)) == ("error", 1)
    assert last.error
    assert runner._breaker._failures == 1
    assert runner.stats()["active"] == 0
    assert end_of(runner, "next").finish == "stop"


@pytest.mark.parametrize(
    "listed", ["<html>", "[]", '{"data": null}', '{"data": [7]}', '{"data": [{"id": "base"}]}', '{"data": []}', "null"]
)
def test_a_server_that_is_no_vllm_is_refused_in_one_sentence(
    listed: str, server: Server, models: Callable[[str], Path], tmp_path: Path
) -> None:
    server.models = listed
    source = VersionSource(0, str(models("llama")), "digest", tmp_path)
    with pytest.raises(RunnerFailed, match="the vLLM server at http://127.0.0.1"):
        VllmRunner(f"http://127.0.0.1:{server.server_port}", source)
