"""The queue in front of the engine: bounded, fair, and with a clear error when it is full."""

import asyncio
import random
import threading
import time
from pathlib import Path

import pytest
from openai import InternalServerError

from service.engine.admission import Admission, Ticket
from service.errors import Overloaded
from tests.service.parrot import ParrotModel
from tests.service.running import running, wait_until


def test_callers_take_turns() -> None:
    async def run() -> list[str]:
        admission, order = Admission(1, 100), []
        first = await admission.enter("x", "x", 1)

        async def ask(caller: str) -> None:
            ticket = await admission.enter(caller, "r", 1)
            order.append(caller)
            admission.give_back(ticket)

        tasks = [asyncio.create_task(ask(caller)) for caller in "aaaaabbc"]
        await asyncio.sleep(0)
        admission.give_back(first)
        await asyncio.gather(*tasks)
        assert (admission.active, admission.queued) == (0, 0)
        return order

    assert "".join(asyncio.run(run())) == "abcabaaa"


def test_a_key_with_many_raters_has_one_keys_turns_and_its_raters_share_them() -> None:
    async def run() -> list[str]:
        admission, order = Admission(1, 100), []
        first = await admission.enter("x", "x", 1)

        async def ask(key: str, rater: str) -> None:
            ticket = await admission.enter(key, rater, 1)
            order.append(key + rater)
            admission.give_back(ticket)

        tasks = [asyncio.create_task(ask(*one)) for one in ("a1", "a1", "a1", "a2", "a3", "b1", "b1")]
        await asyncio.sleep(0)
        admission.give_back(first)
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(run()) == ["a1", "b1", "a2", "b1", "a3", "a1", "a1"]


def test_a_full_queue_of_one_key_makes_room_for_another() -> None:
    async def run() -> None:
        admission = Admission(1, 3)
        first = await admission.enter("a", "r", 1)
        crowd = [asyncio.create_task(admission.enter("a", "r", 1)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await admission.enter("a", "r", 1)
        others = [asyncio.create_task(admission.enter("b", "r", 1)) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert [task.done() for task in (*crowd, *others)] == [False, False, True, False, True]
        # the newest of the crowd gave way to b's first; then both had as many, or nearly
        for refused in (crowd[2], others[1]):
            with pytest.raises(Overloaded, match="3 requests wait already"):
                await refused
        admission.give_back(first)
        admission.give_back(await crowd[0])
        admission.give_back(await others[0])
        admission.give_back(await crowd[1])
        assert (admission.active, admission.queued) == (0, 0)

    asyncio.run(run())


def test_a_full_queue_refuses_with_retry_after() -> None:
    async def run() -> None:
        admission = Admission(1, 1)
        ticket = await admission.enter("a", "r", 1)
        waiting = asyncio.create_task(admission.enter("a", "r", 1))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refused:
            await admission.enter("b", "r", 1)
        assert refused.value.retry_after_s is not None
        admission.give_back(ticket)
        admission.give_back(await waiting)
        assert admission.active == 0

    asyncio.run(run())


def test_nothing_is_lost_however_callers_come_and_leave() -> None:
    async def run(seed: int) -> None:
        rng, admission = random.Random(seed), Admission(4, 50)
        most = 0

        async def ask(caller: str, cost: int, hold_s: float) -> None:
            nonlocal most
            ticket = await admission.enter(caller, rng.choice("rs"), cost)
            try:
                most = max(most, admission.active)
                await asyncio.sleep(hold_s)
            finally:
                admission.give_back(ticket)
                admission.give_back(ticket)

        tasks = [asyncio.create_task(ask(rng.choice("abc"), rng.randint(1, 6), rng.random() / 500)) for _ in range(40)]
        for task in rng.sample(tasks, 15):
            await asyncio.sleep(rng.random() / 1000)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (admission.active, admission.queued, list(admission._waiting)) == (0, 0, [])
        assert most <= 4

    for seed in range(20):
        asyncio.run(run(seed))


def test_those_who_wait_are_refused_when_the_service_stops() -> None:
    async def run() -> None:
        admission = Admission(1, 5)
        await admission.enter("a", "r", 1)
        waiting: asyncio.Task[Ticket] = asyncio.create_task(admission.enter("b", "r", 1))
        await asyncio.sleep(0)
        admission.close("the service is stopping")
        with pytest.raises(Overloaded, match="stopping"):
            await waiting

    asyncio.run(run())


def test_a_full_service_answers_503_with_retry_after(tmp_path: Path) -> None:
    with running(tmp_path / "data", ParrotModel(step_s=0.01), limits__max_active=2, limits__max_queued=1) as served:
        ask = {"model": "attune", "messages": [{"role": "user", "content": "long"}], "max_tokens": 200}
        done: list[int] = []
        threads = [
            threading.Thread(target=lambda: done.append(served.http.post("/v1/chat/completions", json=ask).status_code))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: served.service.admission.queued == 1, what="one waits")
        refused = served.http.post("/v1/chat/completions", json=ask)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert int(refused.headers["Retry-After"]) >= 1
        for thread in threads:
            thread.join()
        assert done == [200] * 3


def test_a_client_that_leaves_ends_its_generation_within_a_step(tmp_path: Path) -> None:
    with running(tmp_path / "data", ParrotModel(step_s=0.02)) as served:
        ask = {"model": "attune", "messages": [{"role": "user", "content": "long"}], "max_tokens": 900}
        with served.http.stream("POST", "/v1/chat/completions", json={**ask, "stream": True}) as stream:
            next(stream.iter_lines())
        with pytest.raises(Exception, match="timed out"):
            served.http.post("/v1/chat/completions", json=ask, timeout=0.3)
        runner = served.model.runners[0]
        wait_until(lambda: len(runner.cancelled) == 2, 3, "both generations ended")
        wait_until(lambda: served.service.admission.active == 0, 3, "their tickets are given back")
        assert not served.service.engine.slots[0].leases


def test_an_answer_past_the_time_limit_is_cut(tmp_path: Path) -> None:
    with running(tmp_path / "data", ParrotModel(step_s=0.02), limits__request_s=0.4) as served:
        ask = {"model": "attune", "messages": [{"role": "user", "content": "long"}], "max_tokens": 900}
        whole = served.http.post("/v1/chat/completions", json=ask)
        assert (whole.status_code, whole.json()["error"]["code"]) == (504, "timeout")
        with pytest.raises(Exception, match=r"longer than 0\.4 s"):
            list(
                served.openai().chat.completions.create(
                    model="attune", messages=[{"role": "user", "content": "long"}], max_tokens=900, stream=True
                )
            )
        assert served.service.admission.active == 0


def test_a_client_that_reads_nothing_holds_no_ticket(tmp_path: Path) -> None:
    with running(tmp_path / "data", ParrotModel()) as served:
        ask = {
            "model": "attune",
            "messages": [{"role": "user", "content": "long"}],
            "max_tokens": 1000,
            "n": 8,
            "stream": True,
            "logprobs": True,
        }
        with served.http.stream("POST", "/v1/chat/completions", json=ask):
            wait_until(lambda: served.service.admission.active == 0, 5, "the engine is free although nothing was read")


def test_stopping_lets_answers_finish_and_cuts_those_that_take_too_long(tmp_path: Path) -> None:
    ends: dict[str, object] = {}

    def talk(name: str, tokens: int) -> None:
        client = served.openai()
        try:
            stream = client.chat.completions.create(
                model="attune", messages=[{"role": "user", "content": "long"}], max_tokens=tokens, stream=True
            )
            ends[name] = [chunk.choices[0].finish_reason for chunk in stream][-1]
        except Exception as error:
            ends[name] = str(error)

    with running(tmp_path / "data", ParrotModel(step_s=0.02), limits__shutdown_s=1.0) as served:
        threads = [threading.Thread(target=talk, args=args) for args in (("short", 20), ("long", 900))]
        for thread in threads:
            thread.start()
        wait_until(lambda: served.service.admission.active == 2, what="both generate")
        time.sleep(0.05)
    for thread in threads:
        thread.join(10)
    assert ends == {"short": "length", "long": "the service is stopping"}


def test_while_the_model_loads_requests_get_503_with_retry_after(tmp_path: Path) -> None:
    model = ParrotModel(load_s=0.5)
    with running(tmp_path / "data", model) as served:
        served.service.engine.router, kept = None, served.service.engine.router
        with pytest.raises(InternalServerError) as refused:
            served.openai().chat.completions.create(model="attune", messages=[{"role": "user", "content": "Hello!"}])
        assert refused.value.status_code == 503
        assert refused.value.response.headers["Retry-After"] == "1"
        served.service.engine.router = kept
