"""Routing, and the engine's slots by themselves."""

import asyncio
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.runners.base import SamplingSettings, TokenDelta
from service.engine.router import Route, Router, pinned_number, version_name
from service.engine.slot_pool import EngineLimits, Loaded, SlotPool
from service.engine.slots import EventLoopMailbox
from service.errors import EngineFailed, NoMemory
from tests.service.parrot import ParrotRunner


@given(st.text(max_size=30), st.floats(0, 1), st.integers(0, 100))
def test_a_conversation_stays_with_its_version_and_moves_only_towards_the_canary(
    conversation: str, share: float, canary: int
) -> None:
    router = Router(canary + 1, canary, share)
    route = router.choose(conversation)
    assert route == router.choose(conversation)
    assert route.number in (canary, canary + 1)
    assert route.propensity == pytest.approx(share if route.number == canary else 1 - share if share > 0 else 1.0)
    if route.number == canary and share > 0:
        assert Router(canary + 1, canary, min(1.0, share + 0.1)).choose(conversation).number == canary


def test_shares_are_kept() -> None:
    router = Router(1, 2, 0.25)
    share = sum(router.choose(f"conversation-{n}").number == 2 for n in range(4000)) / 4000
    assert share == pytest.approx(0.25, abs=0.03)
    assert (router.share_of(1), router.share_of(2), router.share_of(3)) == (0.75, 0.25, 0.0)
    assert Router(1).choose("x") == Route(1, 1.0)
    assert (Router(1, 2, 0.0).serves(2), Router(1, 2, 0.1).serves(2)) == (False, True)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("attune@0", 0),
        ("attune@12", 12),
        ("attune", None),
        ("attune@", None),
        ("attune@-1", None),
        ("x@1", None),
        ("attune@１", None),
    ],
)
def test_names_of_versions(name: str, number: int | None) -> None:
    assert pinned_number(name) == number
    if number is not None:
        assert version_name(number) == name


def test_steps_arrive_in_order_on_the_loop_whoever_sends_them() -> None:
    async def run() -> None:
        mailbox, got, here = EventLoopMailbox(asyncio.get_running_loop()), [], threading.get_ident()
        carry = mailbox.callback(lambda delta: got.append((delta.ids[0], threading.get_ident())))

        def send() -> None:
            for number in range(5000):
                carry(TokenDelta("r", (number,), (0.0,)))

        thread = threading.Thread(target=send)
        thread.start()
        while len(got) < 5000:
            await asyncio.sleep(0)
        thread.join()
        assert [number for number, _ in got] == list(range(5000))
        assert {ident for _, ident in got} == {here}

    asyncio.run(run())


def engine_of(loads: list[int], limits: EngineLimits | None = None, load_s: float = 0.0) -> SlotPool:
    """An engine over parrots that records what it loads; version 9 cannot be loaded."""

    def load(number: int) -> Loaded:
        time.sleep(load_s)
        loads.append(number)
        if number == 9:
            raise RuntimeError("no such luck")
        return Loaded(f"digest-{number}", ParrotRunner(number))

    return SlotPool(load, limits or EngineLimits(2, 60.0, 5.0), lambda number, error: None)


def test_callers_who_want_the_same_version_share_one_load() -> None:
    async def run() -> None:
        loads: list[int] = []
        engine = engine_of(loads, load_s=0.05)
        engine.follow(Router(0))
        leases = await asyncio.gather(*(engine.lease(0) for _ in range(20)))
        assert loads == [0]
        assert {lease.slot for lease in leases} == {engine.slots[0]}
        for lease in leases:
            lease.end()
            lease.end()
        assert engine.slots[0].is_idle
        with pytest.raises(EngineFailed, match="no such luck"):
            await engine.lease(9)
        await engine.close()

    asyncio.run(run())


def test_many_who_want_different_versions_all_get_theirs_in_turn() -> None:
    async def run() -> None:
        loads: list[int] = []
        engine = engine_of(loads)
        await engine.load(0)
        engine.follow(Router(0))

        async def use(number: int) -> int:
            lease = await engine.lease(number)
            await asyncio.sleep(0.01)
            assert len(engine.slots) <= 2
            lease.end()
            return lease.slot.number

        wanted = [1, 2, 3, 1, 2, 3, 0, 4]
        assert await asyncio.wait_for(asyncio.gather(*map(use, wanted)), 10) == wanted
        assert 0 in engine.slots
        assert loads.count(0) == 1
        await engine.close()

    asyncio.run(run())


def test_versions_keep_to_the_memory_they_may_take() -> None:
    async def run() -> None:
        engine = SlotPool(
            lambda number: Loaded("d", ParrotRunner(number)),
            EngineLimits(9, 60.0, 5.0, 2.5),
            lambda number, error: None,
            lambda number: 1.0,
        )
        await engine.load(0)
        engine.follow(Router(0))
        await engine.load(1, is_wanted_by_traffic=False)
        await engine.load(2, is_wanted_by_traffic=False)  # the idle one makes room
        assert sorted(engine.slots) == [0, 2]
        busy = await engine.lease(2)
        waiting = asyncio.create_task(engine.load(3))
        await asyncio.sleep(0.05)
        assert not waiting.done()  # a swap, too: the memory is not there
        busy.end()
        await waiting
        assert sorted(engine.slots) == [0, 3]
        engine.follow(Router(0, 3, 0.5))
        with pytest.raises(
            NoMemory, match=r"version 4 takes about 1\.00 GiB.* memory_gib = 2\.5 .*0 \(1\.00 GiB\), 3 .*; raise"
        ):
            await engine.load(4)
        await engine.close()

    asyncio.run(run())


def tight_engine(gate: threading.Event, loads: list[int]) -> SlotPool:
    """An engine with memory for two parrots. Loads of all but version 0 wait for the gate; 9 cannot be loaded."""

    def load(number: int) -> Loaded:
        if number:
            gate.wait(60)
        loads.append(number)
        if number == 9:
            raise RuntimeError("no such luck")
        return Loaded("d", ParrotRunner(number))

    return SlotPool(load, EngineLimits(9, 60.0, 5.0, 2.0), lambda number, error: None, lambda number: 1.0)


async def load_beside(
    engine: SlotPool, first: int, second: int, gate: threading.Event, first_for_traffic: bool = False
) -> list[asyncio.Task[Any]]:
    """Begin to load two versions where there is memory for one, then open the gate."""
    await engine.load(0)
    engine.follow(Router(0))
    tasks = [
        asyncio.create_task(engine.load(first, is_wanted_by_traffic=True) if first_for_traffic else engine.lease(first))
    ]
    while not engine._starting:
        await asyncio.sleep(0.005)
    tasks.append(asyncio.create_task(engine.lease(second)))
    while not engine._freed._waiters:  # type: ignore[attr-defined]
        await asyncio.sleep(0.005)
    gate.set()
    return tasks


def test_a_load_that_fails_wakes_who_waits_for_its_memory() -> None:
    async def run() -> None:
        engine = tight_engine(gate := threading.Event(), [])
        failing, waiting = await load_beside(engine, 9, 1, gate)
        with pytest.raises(EngineFailed, match="no such luck"):
            await failing
        assert (await asyncio.wait_for(waiting, 60)).slot.number == 1
        await engine.close()

    asyncio.run(run())


def test_a_version_whose_caller_has_gone_makes_room_once_it_is_loaded() -> None:
    async def run() -> None:
        engine = tight_engine(gate := threading.Event(), [])
        left, waiting = await load_beside(engine, 2, 1, gate)
        left.cancel()
        assert (await asyncio.wait_for(waiting, 60)).slot.number == 1
        assert sorted(engine.slots) == [0, 1]
        await engine.close()

    asyncio.run(run())


def test_who_waits_for_memory_does_not_take_it_from_the_one_before() -> None:
    async def run() -> None:
        engine = tight_engine(gate := threading.Event(), loads := [])
        first, second = await load_beside(engine, 2, 1, gate)
        lease = await asyncio.wait_for(first, 60)
        await asyncio.sleep(0.05)
        assert sorted(engine.slots) == [0, 2]
        lease.end()
        assert (await asyncio.wait_for(second, 60)).slot.number == 1
        assert loads == [0, 2, 1]
        await engine.close()

    asyncio.run(run())


def test_a_waiter_wakes_when_the_memory_went_to_a_canary() -> None:
    async def run() -> None:
        engine = tight_engine(gate := threading.Event(), [])
        canary, waiting = await load_beside(engine, 2, 1, gate, first_for_traffic=True)
        await canary
        await asyncio.sleep(0.05)
        assert sorted(engine.slots) == [0, 2]  # it is not taken out before it has its traffic
        engine.follow(Router(0, 2, 0.5))
        with pytest.raises(NoMemory, match="version 1 takes about"):
            await asyncio.wait_for(waiting, 60)
        await engine.close()

    asyncio.run(run())


def test_a_lease_outlives_the_swap_and_the_old_slot_goes_after_it() -> None:
    async def run() -> None:
        engine = engine_of([])
        await engine.load(0)
        engine.follow(Router(0))
        got: list[TokenDelta] = []
        lease = await engine.lease(0)
        lease.submit("r", [256, *b"say: still version zero", 259, 257], SamplingSettings(max_tokens=100), got.append)
        await engine.load(1)
        engine.follow(Router(1))
        while not got or not got[-1].finish:
            await asyncio.sleep(0.005)
        assert bytes(token for step in got for token in step.ids if token < 256) == b"still version zero"
        old = engine.slots[0]
        lease.end()
        while 0 in engine.slots or not old.runner.is_closed:  # type: ignore[attr-defined]
            await asyncio.sleep(0.005)
        await engine.close()

    asyncio.run(run())
