"""Six of the longest requests at once, against the running service: others hardly notice, and it still stops."""

import contextlib
import http.client
import json
import signal
import statistics
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from store.api_keys import make_key
from store.database import open_store, transaction
from tests.served import Served, serve

NUM_LONG = 6
CHATS = 20  # in each measurement
LINE = "lorem ipsum dolor sit amet " * 70  # the text of one of 1,999 turns: 3.8 MB together
TURNS = [{"role": "assistant" if index % 2 else "user", "content": f"{index} {LINE}"} for index in range(1999)]
LAST = {"role": "user", "content": "What is the capital of Spain?"}
LONG = json.dumps({"model": "attune", "messages": [*TURNS[:-1], LAST], "max_tokens": 8}).encode()
SHORT_TURNS = [{**turn, "content": turn["content"][:80]} for turn in TURNS[:40]]
FULL = json.dumps({"model": "attune", "messages": [*SHORT_TURNS, LAST], "max_tokens": 8}).encode()
ONE_TURN = json.dumps({"model": "attune", "messages": [{"role": "user", "content": LINE * 2000}]}).encode()


@dataclass
class Attacked:
    """A service of which one key sends long requests and another chats."""

    served: Served
    greedy: str
    other: str

    def chat_s(self) -> float:
        """Return the seconds that a chat of the other person takes."""
        body = {"model": "attune", "messages": [{"role": "user", "content": "What is the capital of France?"}]}
        body |= {"max_tokens": 64, "seed": 1, "temperature": 0}
        began = time.perf_counter()
        assert self._post(json.dumps(body).encode(), self.other, 120) == 200
        return time.perf_counter() - began

    def send_long(self, body: bytes = LONG, timeout_s: float = 300.0) -> int:
        """Send one long request; return its status, 0 where it was hung up."""
        try:
            return self._post(body, self.greedy, timeout_s)
        except OSError:
            return 0

    def _post(self, body: bytes, secret: str, timeout_s: float) -> int:
        # http.client: a client that takes little time itself, since it has the same processors as the service
        connection = http.client.HTTPConnection("127.0.0.1", int(self.served.url.rpartition(":")[2]), timeout=timeout_s)
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        with contextlib.closing(connection):
            connection.request("POST", "/v1/chat/completions", body, headers)
            response = connection.getresponse()
            response.read()
            return response.status

    def settle(self) -> None:
        """Wait until its memory stays the same: the worker for the next version is still reading its libraries."""
        before, deadline = 0, time.monotonic() + 60
        while abs(self.memory() - before) > 2**20 and time.monotonic() < deadline:
            before = self.memory()
            time.sleep(2)

    def memory(self) -> int:
        """Return the resident memory of the service and its workers in bytes."""
        process, total = psutil.Process(self.served.process.pid), 0
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += one.memory_info().rss
        return total


@pytest.fixture
def attacked(tmp_path: Path) -> Generator[Attacked, None, None]:
    data = tmp_path / "data"
    db = open_store(data)
    with transaction(db):
        secrets = [make_key(db, name, ("chat",))[1] for name in ("greedy", "other")]
    db.close()
    with serve(data, "--no-learner", model="pocket") as served:
        yield Attacked(served, *secrets)


def all_at_once(work: Callable[[], int], count: int) -> list[int]:
    """Return what so many threads of `work` give."""
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(work())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.fire
@pytest.mark.parametrize("body", [LONG, ONE_TURN], ids=["many turns", "one turn"])
def test_six_long_requests_leave_others_their_time_and_the_memory(attacked: Attacked, body: bytes) -> None:
    for _ in range(3):
        all_at_once(lambda: attacked.send_long(FULL), NUM_LONG)  # so that memory for keys and values is in use already
        attacked.chat_s()
    attacked.settle()
    alone, beside, statuses = [], [], set()
    memory = peak = attacked.memory()
    for _ in range(CHATS):  # in turns, since other programs take their share of the processors too
        alone.append(attacked.chat_s())
        attack = threading.Thread(
            target=lambda: statuses.update(all_at_once(lambda: attacked.send_long(body), NUM_LONG))
        )
        attack.start()
        beside.append(attacked.chat_s())
        while attack.is_alive():
            peak = max(peak, attacked.memory())
            attack.join(0.01)
    quiet, busy = statistics.median(alone), statistics.median(beside)
    print(f"\na chat takes {quiet:.3f} s alone and {busy:.3f} s ({busy / quiet:.2f} times) beside {NUM_LONG} others")
    print(f"memory {memory / 2**20:.0f} MiB alone and {peak / 2**20:.0f} MiB ({peak / memory:.2f} times) beside them")
    assert statuses == ({200} if body is LONG else {400})
    assert busy < 2 * quiet
    assert peak < 1.2 * memory


@pytest.mark.fire
def test_hung_up_requests_end_and_the_service_stops_meanwhile(attacked: Attacked) -> None:
    assert all_at_once(lambda: attacked.send_long(timeout_s=0.05), NUM_LONG).count(0) > 0
    assert attacked.chat_s() < 60
    attack = threading.Thread(
        target=lambda: all_at_once(lambda: attacked.send_long(timeout_s=5), NUM_LONG), daemon=True
    )
    attack.start()
    time.sleep(0.1)
    attacked.served.process.send_signal(signal.SIGTERM)
    assert attacked.served.process.wait(40) in (0, -signal.SIGTERM)  # uvicorn raises the signal again at its end
