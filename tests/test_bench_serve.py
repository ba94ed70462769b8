"""The bench of servers measures right: known delays and processor times, streams in any parts, rounds that go on."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from bench.serve import __main__ as bench
from bench.serve import client
from bench.serve.answers import Answer, Ask, ServerFailed
from bench.serve.cells import Results, ratios
from bench.serve.models import endless
from bench.serve.processes import cpu_seconds, memory_mib
from bench.serve.scenarios import SCENARIOS, Scenario
from bench.serve.servers import HttpServer, Server, Surroundings
from docs.benchmarks_page import table
from docs.serving_section import picture, section
from tests.served import free_port, serve

FAKE = Path(__file__).with_name("fake_stream_server.py")
FEW = (Scenario("1 stream", 1, 6), Scenario("4 streams", 4, 4), Scenario("second turn", 1, 2, history=100))
CHILD = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\nb = b'x' * 2**26; input()"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"


@contextlib.contextmanager
def fake(wait_ms: float, burn_ms: float = 0.0) -> Iterator[Server]:
    port = free_port()
    process = subprocess.Popen([sys.executable, str(FAKE), str(port), str(wait_ms), str(burn_ms)])
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(url).status_code == 200:
                    break
            time.sleep(0.05)
        yield HttpServer(process.pid, url, "fake")
    finally:
        process.kill()
        process.wait()


class Counting:
    """A server in this process: so many tokens at once, and the questions that it was asked."""

    def __init__(self, *, short_by: int = 0, prompt_tokens: int = 7) -> None:
        self.pid, self.asked = os.getpid(), list[Ask]()
        self._short_by, self._prompt_tokens = short_by, prompt_tokens

    def ask(self, asks: Sequence[Ask]) -> list[Answer]:
        self.asked += asks
        at = time.monotonic()
        return [Answer(at, (at + 0.1, at + 0.2), one.max_tokens - self._short_by, self._prompt_tokens) for one in asks]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SETTLE_S", 0.02)


def results_in(folder: Path) -> Results:
    return Results(folder / "serve.json", {"command": "test"})


def measured(folder: Path, servers: dict[str, Server], rounds: int = 2) -> Results:
    results = results_in(folder)
    for number in range(1, rounds + 1):
        bench.Bench("tiny", servers, results, context=512).round(number, FEW)
    return results


def test_known_delays_give_the_known_ratio_and_processor_time(tmp_path: Path) -> None:
    with fake(15) as fast, fake(65, burn_ms=10) as slow:
        measured(tmp_path, {"attune fast": fast, "slow": slow})
    kept = json.loads((tmp_path / "serve.json").read_text())
    assert len(kept["cells"]) == 2 * 2 * len(FEW)
    for cell in kept["cells"]:
        least_ms = 15 if cell["server"] == "attune fast" else 75
        tokens, of_one = {"1 stream": (6, 6), "4 streams": (16, 4), "second turn": (4, 4)}[cell["scenario"]]
        assert cell["tokens"] == cell["chunks"] == tokens
        assert 1000 * cell["seconds"] >= of_one * least_ms
        assert cell["tokens_per_s"] == pytest.approx(tokens / cell["seconds"], rel=0.01)
        assert cell["first_ms"]["min"] >= least_ms
        assert cell["memory_mib"] > 5
    for server, least_ms in (("attune fast", 15), ("slow", 75)):
        assert max(cell["gap_ms"]["max"] for cell in kept["cells"] if cell["server"] == server) >= least_ms
    for one in kept["ratios"]:
        assert one["rounds"] == 2
        assert 1.3 < one["tokens_per_s"]["median"] < 25  # 5 on a quiet machine
        assert one["first_ms"]["median"] < 0.8
        assert one["cpu_ms_per_token"]["median"] < 0.6
    burned = [cell["cpu_ms_per_token"] for cell in kept["cells"] if cell["server"] == "slow"]
    assert all(7 <= cpu < 40 for cpu in burned)


def test_our_service_is_as_fast_as_itself(tmp_path: Path) -> None:
    model = endless("pocket-nano", tmp_path)
    with serve(tmp_path / "data", "--no-learner", "--engine.threads", "1", model=str(model)) as served:
        servers: dict[str, Server] = {
            name: HttpServer(served.process.pid, served.url, "attune") for name in ("attune one", "other")
        }
        measured(tmp_path, servers)
    kept = json.loads((tmp_path / "serve.json").read_text())
    assert len(kept["cells"]) == 2 * 2 * len(FEW)
    for one in kept["ratios"]:
        assert 0.1 < one["tokens_per_s"]["median"] < 10
    assert sum(cell["cpu_ms_per_token"] for cell in kept["cells"]) > 0
    prompts: dict[tuple[str, int], set[int]] = {}
    for cell in kept["cells"]:
        prompts.setdefault((cell["scenario"], cell["round"]), set()).add(cell["prompt_tokens"])
    assert all(len(counts) == 1 for counts in prompts.values())
    assert min(prompts["second turn", 1]) > 2 * 100


def test_a_bench_goes_on_where_it_ended(tmp_path: Path) -> None:
    once, again = Counting(), Counting()
    measured(tmp_path, {"attune": once}, rounds=1)
    results = measured(tmp_path, {"attune": again}, rounds=2)
    assert len(again.asked) == len(once.asked) == 1 + 4 + 2
    assert ("tiny", "attune", "1 stream", 2) in results


def test_each_round_begins_with_another_server(tmp_path: Path) -> None:
    order: list[str] = []

    class Noting(Counting):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def ask(self, asks: Sequence[Ask]) -> list[Answer]:
            order.append(self.name)
            return super().ask(asks)

    servers: dict[str, Server] = {name: Noting(name) for name in "abc"}
    for number in (1, 2, 3):
        bench.Bench("tiny", servers, results_in(tmp_path), context=0).round(number, FEW[:1])
    assert sorted(order[:3]) == sorted(order[3:6]) == sorted(order[6:]) == ["a", "b", "c"]
    assert len({tuple(order[:3]), tuple(order[3:6]), tuple(order[6:])}) == 3


def test_an_answer_that_ends_early_is_a_failure_and_no_cell(tmp_path: Path) -> None:
    measured(tmp_path, {"attune": Counting(short_by=1), "other": Counting()}, rounds=1)
    kept = json.loads((tmp_path / "serve.json").read_text())
    assert [one["server"] for one in kept["cells"]] == ["other"] * len(FEW)
    assert [one["server"] for one in kept["failures"]] == ["attune"] * len(FEW)
    assert kept["failures"][0]["error"] == "attune gave 5 tokens where 6 were asked for"


def test_a_server_that_does_not_start_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def broken(*_: Any) -> Iterator[Server]:
        raise ServerFailed("it did not start\nthe end of its log")
        yield Counting()

    kinds = {"vLLM": broken, "llama.cpp": lambda *_: contextlib.nullcontext(Counting())}
    monkeypatch.setattr(bench, "SERVERS", kinds)
    around, wanted = Surroundings(tmp_path, tmp_path), [("vLLM", "bf16"), ("llama.cpp", "f16")]
    with contextlib.ExitStack() as stack:
        assert list(bench.start(stack, wanted, around, results_in(tmp_path), "tiny")) == ["llama.cpp, f16"]
    (failure,) = json.loads((tmp_path / "serve.json").read_text())["failures"]
    assert (failure["server"], failure["scenario"], failure["error"]) == ("vLLM, bf16", "start", "it did not start")


def test_servers_that_count_a_prompt_otherwise_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {
        "attune openvino": lambda *_: contextlib.nullcontext(Counting()),
        "llama.cpp": lambda *_: contextlib.nullcontext(Counting(prompt_tokens=8)),
    }
    monkeypatch.setattr(bench, "SERVERS", kinds)
    around, wanted = Surroundings(tmp_path, tmp_path), [("attune openvino", "f16"), ("llama.cpp", "f16")]
    with contextlib.ExitStack() as stack, pytest.raises(ServerFailed, match="other lengths"):
        bench.start(stack, wanted, around, results_in(tmp_path), "tiny")


def test_no_two_rounds_ask_the_same_and_a_second_turn_contains_the_first() -> None:
    def answers(asks: list[Ask]) -> list[Answer]:
        return [Answer(0.0, (1.0,), one.max_tokens, 1, "So it was.") for one in asks]

    seen = set()
    for scenario in SCENARIOS:
        for number in range(1, 9):
            turns: list[list[Ask]] = []
            for turn in scenario.turns(number):
                turns.append(turn(answers(turns[-1]) if turns else []))
            assert len(turns[0]) == scenario.clients
            seen |= {json.dumps(one.messages) for asks in turns for one in asks}
            if scenario.history:
                (first,), (second,) = turns
                assert second.messages[:1] == first.messages
                assert [one["role"] for one in second.messages] == ["user", "assistant", "user"]
    assert len(seen) == 8 * (1 + 8 + 32 + 2)


def cell(server: str, number: int, speed: float) -> dict[str, Any]:
    found = {"tokens_per_s": speed, "first_ms": {"median": 10.0}, "gap_ms": {"p99": 5.0}, "cpu_ms_per_token": 2.0}
    return {"group": "g", "server": server, "scenario": "s", "round": number, **found}


def test_ratios_are_of_the_same_round_with_median_least_and_most() -> None:
    ours = [cell("attune x", number, speed) for number, speed in ((1, 10.0), (2, 30.0), (3, 20.0), (4, 99.0))]
    peer = [cell("peer", number, speed) for number, speed in ((1, 10.0), (2, 10.0), (3, 40.0))]
    (one,) = ratios([*ours, *peer])
    assert (one["ours"], one["peer"], one["rounds"]) == ("attune x", "peer", 3)
    assert one["tokens_per_s"] == {"median": 1.0, "min": 0.5, "max": 3.0}
    assert one["first_ms"] == {"median": 1.0, "min": 1.0, "max": 1.0}


MORE = {"memory_mib": 64.0, "others_cpu": 0.012, "client_cpu": 0.034}


def test_the_page_shows_the_better_of_our_runners_against_each_peer() -> None:
    speeds = {"attune a, f16": 10.0, "attune b, f16": 20.0, "attune auto, f16": 30.0, "llama.cpp, f16": 40.0}
    cells = [
        {**cell(server, number, speed), "group": "pocket", "scenario": "8 streams", **MORE}
        for server, speed in speeds.items()
        for number in (1, 2, 3)
    ]
    for one in cells:
        one["gap_ms"]["median"] = 1.0
    numbers = {"cells": cells, "ratios": ratios(cells), "sampling": {"top_k": 40}}
    text = section(numbers, "- Command: `x`", table)
    assert "| 8 streams | `attune b, f16` | `llama.cpp, f16` | 0.50 (0.50 to 0.50) | 1.00 (1.00 to 1.00) |" in text
    assert "| `attune a, f16` | `llama.cpp" not in text
    assert "1.2% of a processor, and the clients 3.4%" in text
    assert "| 8 streams | `attune auto, f16` | `attune b, f16` | 1.50 (1.50 to 1.50) | 1.00 (1.00 to 1.00) |" in text
    assert "| `attune auto, f16` | `llama.cpp" not in text
    assert text.count("| 8 streams | `attune a, f16` |") == 1
    drawn = ElementTree.fromstring(picture(numbers))
    bars = {float(bar.attrib["width"]): bar.attrib["class"] for bar in drawn.iter("{http://www.w3.org/2000/svg}rect")}
    widths = sorted(bars)
    assert [bars[width] for width in widths] == ["ours", "ours", "ours", "peer"]
    assert widths[3] == pytest.approx(2 * widths[1], rel=0.01) == pytest.approx(4 * widths[0], rel=0.01)


def test_processor_time_and_memory_are_those_of_the_whole_tree() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE)
    try:
        for _ in range(400):
            if cpu_seconds(parent.pid) >= 0.3 and memory_mib(parent.pid) >= 64:
                break
            time.sleep(0.05)
        assert 0.3 <= cpu_seconds(parent.pid) < 3
        assert 64 <= memory_mib(parent.pid) < 400
        before = cpu_seconds(parent.pid)
        assert parent.stdin is not None
        parent.stdin.write(b"\n")
        parent.stdin.flush()
    finally:
        parent.wait(60)
    assert before >= 0.3


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
USUAL = b'{"choices":[{"delta":{"content":"a"}}],"usage":{"completion_tokens":1,"prompt_tokens":1}}'


def chunked(*parts: bytes) -> bytes:
    return b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts)


def test_a_stream_is_read_however_it_is_cut() -> None:
    whole = chunked(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', b'data: {"choices":[{"delta":{"con')
    whole += chunked(b'tent":"b"}}],"usage":{"completion_tokens":2,"prompt_tokens":3}}\n\ndata: [DONE]\n\n', b"")
    for size in (1, 7, 50, len(whole)):
        arrived = [(float(at), (HEAD + whole)[at : at + size]) for at in range(0, len(HEAD + whole), size)]
        answer = client._answer(0.0, arrived)
        assert (answer.text, answer.tokens, answer.prompt_tokens) == ("ab", 2, 3)
        assert len(answer.arrivals) == 2
        assert size > 50 or answer.arrivals[0] < answer.arrivals[1]
    plain = [(1.0, b"HTTP/1.0 200 OK\r\n\r\ndata: "), (2.0, USUAL), (3.0, b"\n\ndata: [DONE]\n\n")]
    assert client._answer(0.0, plain).arrivals == (3.0,)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"HTTP/1.1 503 Busy\r\n\r\nfull", "503 Busy: .*full"),
        (b"", "a closed connection"),
        (b'HTTP/1.1 200 OK\r\n\r\ndata: {"error":{"message":"broken"}}\n\n', "broken"),
        (b"HTTP/1.1 200 OK\r\n\r\ndata: [DONE]\n\n", "without a count"),
    ],
)
def test_a_stream_that_is_no_answer_is_an_error(raw: bytes, why: str) -> None:
    with pytest.raises(ServerFailed, match=f"(?s){why}"):
        client._answer(0.0, [(1.0, raw)] if raw else [])
