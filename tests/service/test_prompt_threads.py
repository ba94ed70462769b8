"""Work on threads that a request holds: bounded, interrupted when its client leaves, and no burden for others."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from policy.errors import Interrupted
from service.errors import Overloaded
from service.http.large_bodies import LARGE, REST_S, LargeBodies, Turns
from service.prompt_threads import LONG, PromptThreads, run_shielded
from store.api_keys import make_key
from tests.service.parrot import ParrotEncoder, ParrotModel
from tests.service.raw_http import connected
from tests.service.running import running, wait_until

LONG_TEXT = "a" * (LONG + 1)


@dataclass
class StuckEncoder(ParrotEncoder):
    """Renders long conversations for ever, until it is interrupted."""

    under_way: list[str] = field(default_factory=list)

    def prompt_ids_within(self, messages: Sequence[dict[str, Any]], limit: int) -> list[int] | None:
        if len(messages[-1]["content"]) <= LONG:
            return super().prompt_ids_within(messages, limit)
        name = threading.current_thread().name
        self.under_way.append(name)
        while not self.is_interrupted():
            time.sleep(0.005)
        self.under_way.remove(name)
        raise Interrupted


@dataclass
class StuckModel(ParrotModel):
    """A parrot whose long prompts take for ever."""

    under_way: list[str] = field(default_factory=list)

    def prompt_encoder(
        self, is_interrupted: Callable[[], bool], arguments: Mapping[str, Any] | None = None
    ) -> StuckEncoder:
        return StuckEncoder(self, is_interrupted, self.under_way)


def ask(text: str) -> dict[str, Any]:
    return {"model": "attune", "messages": [{"role": "user", "content": text}], "max_tokens": 8}


def test_long_prompts_hold_no_one_else_up_and_end_with_their_clients(tmp_path: Path) -> None:
    model = StuckModel()
    with running(tmp_path / "data", model, limits__max_active=16) as served:
        clients = [httpx.Client(base_url=served.url, timeout=0.7) for _ in range(6)]

        def hang_up(client: httpx.Client) -> None:
            with contextlib.suppress(httpx.TimeoutException):
                client.post("/v1/chat/completions", json=ask(LONG_TEXT))

        threads = [threading.Thread(target=hang_up, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        wait_until(lambda: served.service.admission.active == 6 and model.under_way, what="all hold a ticket")
        assert len(model.under_way) == 1  # one thread for all of them
        for _ in range(3):
            assert served.chat("say: hi")["choices"][0]["message"]["content"] == "hi"
        for thread in threads:
            thread.join()
        wait_until(lambda: served.service.admission.active == 0, what="their tickets are given back")
        assert model.under_way == []
        assert not served.service.engine.slots[0].leases
        for client in clients:
            client.close()


def test_the_service_stops_while_a_long_prompt_is_rendered(tmp_path: Path) -> None:
    model, ends = StuckModel(), []
    with running(tmp_path / "data", model, limits__shutdown_s=0.2) as served:
        url = served.url
        thread = threading.Thread(
            target=lambda: ends.append(_status_of(f"{url}/v1/chat/completions", ask(LONG_TEXT))), daemon=True
        )
        thread.start()
        wait_until(lambda: bool(model.under_way), what="it is being rendered")
    wait_until(lambda: not model.under_way, what="the thread is free")
    thread.join(10)
    assert len(ends) == 1


def test_a_prompt_past_the_time_limit_is_refused_and_ends(tmp_path: Path) -> None:
    model = StuckModel()
    with running(tmp_path / "data", model, limits__request_s=0.3) as served:
        refused = served.http.post("/v1/chat/completions", json=ask(LONG_TEXT))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert (model.under_way, served.service.admission.active) == ([], 0)


def test_a_cancelled_caller_holds_its_thread_and_takes_back_what_has_not_begun() -> None:
    async def run() -> None:
        pool, free, began = ThreadPoolExecutor(1), threading.Event(), []

        def work() -> None:
            began.append(1)
            free.wait(10)

        first, second = (asyncio.create_task(run_shielded(pool, work)) for _ in range(2))
        await asyncio.sleep(0.05)
        second.cancel()
        first.cancel()
        await asyncio.sleep(0.05)
        assert (first.done(), second.done(), began) == (False, True, [1])
        free.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        threads = PromptThreads()
        task = asyncio.create_task(threads.run(1, _until_interrupted))
        await asyncio.sleep(0.05)
        threads.close()
        with pytest.raises(Overloaded, match="stopping"):
            await task

    asyncio.run(run())


def test_large_bodies_have_turns() -> None:
    at = [100.0]
    turns = Turns(lambda: at[0])
    size = 4 * 2**20
    assert [turns.wait_s(size, "a") for _ in range(3)] == pytest.approx([0.0, size * REST_S, 2 * size * REST_S])
    assert turns.wait_s(size, "another key") == 0.0
    at[0] += 3 * size * REST_S + 1
    assert turns.wait_s(size, "a") == 0.0


def test_bodies_that_one_key_only_announces_do_not_keep_others_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: dict[str, list[float]] = {}
    wait_s = Turns.wait_s

    def recorded(turns: Turns, num_bytes: int, key_id: str) -> float:
        waits.setdefault(key_id, []).append(wait_s(turns, num_bytes, key_id))
        return waits[key_id][-1]

    monkeypatch.setattr(Turns, "wait_s", recorded)
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with running(tmp_path / "data") as served, contextlib.ExitStack() as stack:
        with served.db() as db:
            (one, secret), (other, others) = (make_key(db, name, ("chat",)) for name in ("one", "other"))
        announced = f"{head}Authorization: Bearer {secret}\r\nContent-Length: 4000000\r\n\r\n{{"
        for _ in range(50):
            stack.enter_context(connected(served.url)).sendall(announced.encode())
        wait_until(lambda: len(waits.get(one.id, [])) == 50)
        assert max(waits[one.id]) > 5
        served.http.headers["Authorization"] = f"Bearer {others}"
        served.http.post("/v1/chat/completions", json={"model": "a" * 2 * LARGE, "messages": []})
        assert set(waits[other.id]) == {0.0}


def test_a_small_body_and_an_import_have_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def wait_s(turns: Turns, num_bytes: int, key_id: str) -> float:
        taken.append(num_bytes)
        return 0.0

    monkeypatch.setattr(Turns, "wait_s", wait_s)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass

    async def send_body(path: str, parts: list[bytes], announced: bool) -> None:
        messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        messages[-1]["more_body"] = False
        length = [(b"content-length", str(sum(map(len, parts))).encode())] if announced else []

        async def receive() -> Any:
            return messages.pop(0)

        await LargeBodies(app)({"type": "http", "path": path, "headers": length}, receive, None)  # type: ignore[arg-type]

    async def run() -> None:
        await send_body("/v1/chat/completions", [b"a" * LARGE], announced=True)
        await send_body("/v1/import", [b"a" * LARGE] * 2, announced=True)
        assert taken == []
        await send_body("/v1/chat/completions", [b"a" * LARGE] * 2, announced=True)
        await send_body("/v1/chat/completions", [b"a" * LARGE] * 3, announced=False)
        assert taken == [2 * LARGE, 2 * LARGE, 3 * LARGE]  # to be read, to be parsed; only to be parsed

    asyncio.run(run())


def _until_interrupted(is_interrupted: Callable[[], bool]) -> None:
    while not is_interrupted():
        time.sleep(0.005)
    raise Interrupted


def _status_of(url: str, body: dict[str, Any]) -> int:
    try:
        return httpx.post(url, json=body, timeout=20).status_code
    except httpx.HTTPError:
        return 0
