"""Which versions are in memory, how they come and go, and how traffic moves between them with nothing dropped."""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from policy.runners.base import Runner
from service.engine.router import Router
from service.engine.slots import EventLoopMailbox, Lease, Slot, SlotState
from service.errors import EngineFailed, NoMemory, Overloaded, VersionRefused

log = logging.getLogger(__name__)
# before each attempt to bring back a version whose runner died; the last one again and again, since nobody may ask for
# it: where /readyz says 503, a load balancer sends no requests
RELOAD_WAITS_S = (0.0, 1.0, 5.0, 15.0, 60.0)


@dataclass(frozen=True)
class Loaded:
    """A version that was loaded: its checked runner and the digest of its weights."""

    digest: str
    runner: Runner


@dataclass(frozen=True)
class EngineLimits:
    """Bounds of the engine; see the settings of the same names."""

    max_slots: int
    idle_unload_s: float
    drain_limit_s: float
    memory_gib: float = 0.0  # 0 means no limit


class SlotPool:
    """All slots and the router. Used from the event loop only; loading and closing run on threads of their own.

    `load(number)` returns a checked runner and may block. `failed(number, error)` is called when a runner died by
    itself. `need(number)` returns the memory (GiB) that a version takes; it is called where memory is limited.
    """

    def __init__(
        self,
        load: Callable[[int], Loaded],
        limits: EngineLimits,
        failed: Callable[[int, str], None],
        need: Callable[[int], float] = lambda _: 0.0,
    ) -> None:
        self.router: Router | None = None
        self.limits = limits
        self.slots: dict[int, Slot] = {}
        self._load, self._failed, self._need = load, failed, need
        self._loading: dict[int, asyncio.Task[Slot]] = {}
        self._leaving: set[Slot] = set()  # no longer in `slots`, still finishing their answers
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(4, "slots")
        self._mailbox = EventLoopMailbox(asyncio.get_running_loop())
        self._starting: list[float] = []  # the memory in GiB of each load under way
        self._freed = asyncio.Condition()
        self._closed = False

    @property
    def is_ready(self) -> bool:
        """Whether the live version is in memory."""
        return self.router is not None and self.router.live in self.slots

    @property
    def num_leases(self) -> int:
        """How many answers hold a slot, leaving slots included."""
        return sum(len(slot.leases) for slot in [*self.slots.values(), *self._leaving])

    async def lease(self, number: int) -> Lease:
        """Return a lease on this version's slot, loading it first if needed. The caller ends the lease.

        Raises VersionRefused or EngineFailed when it cannot be loaded.
        """
        while True:
            slot = self.slots.get(number)
            if slot is None:
                has_traffic = self.router is not None and self.router.serves(number)
                slot = await self.load(number, is_wanted_by_traffic=has_traffic)
            if slot.state is SlotState.READY:  # else it left while this caller waited
                return slot.lease(freed=lambda: self._run(self._notify_freed()))

    async def load(self, number: int, *, is_wanted_by_traffic: bool = True) -> Slot:
        """Bring a version into memory beside the others; callers who ask for the same one share the load.

        A version with traffic is loaded at once; one that somebody asked for by name waits until a slot is free.
        """
        if (slot := self.slots.get(number)) is not None:
            return slot
        if self._closed:
            raise Overloaded("the service is stopping", code="shutting_down", retry_after_s=5)
        task = self._loading.get(number)
        if task is None:
            task = self._loading[number] = asyncio.create_task(
                self._load_slot(number, is_wanted_by_traffic), name=f"load-{number}"
            )
            task.add_done_callback(lambda _: self._load_ended(number, is_wanted_by_traffic))
        return await asyncio.shield(task)

    def follow(self, router: Router) -> None:
        """Send new conversations where `router` says (its versions must be loaded) and drain what lost its traffic."""
        before, self.router = self.router, router
        for number in {before.live, before.canary} - {router.live, router.canary} if before else set():
            if number is not None and number in self.slots:
                self._run(self._drain(self.slots[number]))
        self._run(self._notify_freed())  # those who wait for memory check again

    def unload_idle(self) -> None:
        """Unload versions that nobody used for `idle_unload_s`."""
        oldest = time.monotonic() - self.limits.idle_unload_s
        for slot in self._idle_slots():
            if slot.used_at < oldest:
                self._run(self._retire(slot))

    def drop(self, number: int, reason: str) -> None:
        """Unload a version now and cut its open answers, since it was withdrawn."""
        if (slot := self.slots.get(number)) is not None:
            for lease in list(slot.leases):
                lease.cut(reason)
            self._run(self._retire(slot))

    def cut_all(self, reason: str) -> None:
        """Cut every open answer now; their readers get `reason`."""
        for slot in [*self.slots.values(), *self._leaving]:
            for lease in list(slot.leases):
                lease.cut(reason)

    async def close(self) -> None:
        """Cut what is still open and close every runner."""
        self._closed = True
        for task in [*self._loading.values(), *self._tasks]:
            task.cancel()
        self.cut_all("the service is stopping")
        slots = [*self.slots.values(), *self._leaving]
        for slot in slots:
            slot.state = SlotState.CLOSED
        await asyncio.gather(*(asyncio.to_thread(slot.runner.close) for slot in slots))
        self.slots.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _load_slot(self, number: int, is_wanted_by_traffic: bool) -> Slot:
        loop, memory_gib = asyncio.get_running_loop(), 0.0
        if self.limits.memory_gib:
            memory_gib = await loop.run_in_executor(self._threads, self._need, number)
        await self._make_room(number, memory_gib, wait=not is_wanted_by_traffic)
        began = time.monotonic()
        self._starting.append(memory_gib)
        try:
            loaded = await self._in_thread(number)
        except (OSError, RuntimeError, LookupError) as error:
            log.warning("version %d could not be loaded: %s", number, error)
            raise EngineFailed(f"version {number} could not be loaded: {error}", code="load_failed") from error
        finally:
            self._starting.remove(memory_gib)
        slot = self.slots[number] = Slot(number, loaded.digest, loaded.runner, self._mailbox, memory_gib)
        loaded.runner.on_exit = self._watch(loop, slot)
        log.info("version %d is loaded (%s, %.1f s)", number, loaded.runner.kind, time.monotonic() - began)
        return slot

    def _load_ended(self, number: int, is_wanted_by_traffic: bool) -> None:
        """Wake those who wait for memory, since the load's reservation has ended.

        It runs after the load's own callers are scheduled, so that they hold their lease before others look for idle
        versions. What was loaded to get traffic stays until `follow`, which wakes the others too.
        """
        self._loading.pop(number, None)
        slot = self.slots.get(number)
        if not self._closed and (slot is None or not is_wanted_by_traffic or self._has_traffic(slot)):
            self._run(self._notify_freed())

    def _watch(self, loop: asyncio.AbstractEventLoop, slot: Slot) -> Callable[[str], None]:
        def ended(reason: str) -> None:  # on the runner's thread
            with contextlib.suppress(RuntimeError):  # the loop is closed: nothing is left to restart
                loop.call_soon_threadsafe(self._died, slot, reason)

        return ended

    async def _in_thread(self, number: int) -> Loaded:
        future = asyncio.get_running_loop().run_in_executor(self._threads, self._load, number)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:  # the service stops: a runner that loads all the same must not stay behind
            future.add_done_callback(
                lambda done: None if done.cancelled() or done.exception() else done.result().runner.close()
            )
            raise

    async def _make_room(self, number: int, memory_gib: float, wait: bool) -> None:
        """Unload idle versions until there is a slot and the memory, waiting for busy ones if need be.

        Raises NoMemory where waiting cannot help.
        """
        while (is_short := not self._fits(memory_gib)) or len(self.slots) + len(self._leaving) + len(
            self._starting
        ) >= self.limits.max_slots:
            idle = min(self._idle_slots(), key=lambda slot: slot.used_at, default=None)
            if idle is not None:
                await self._retire(idle)
                continue
            if is_short and not self._may_free_memory():
                held = ", ".join(f"{slot.number} ({slot.memory_gib:.2f} GiB)" for slot in self.slots.values()) or "none"
                limit = f"memory_gib = {self.limits.memory_gib:g} leaves too little beside the versions in use: {held}"
                raise NoMemory(
                    f"version {number} takes about {memory_gib:.2f} GiB, of which {limit}; "
                    "raise memory_gib, or lower kv_gib",
                    retry_after_s=30,
                )
            if not is_short and not wait:
                return  # one slot too many for a moment, rather than a swap that waits for other requests
            async with self._freed:
                await self._freed.wait()

    def _fits(self, memory_gib: float) -> bool:
        held = sum(slot.memory_gib for slot in [*self.slots.values(), *self._leaving])
        return not self.limits.memory_gib or held + sum(self._starting) + memory_gib <= self.limits.memory_gib

    def _may_free_memory(self) -> bool:
        """Whether any memory will be freed without help: by a leaving slot, a load, or a version without traffic."""
        return bool(self._leaving or self._starting) or any(not self._has_traffic(slot) for slot in self.slots.values())

    def _idle_slots(self) -> list[Slot]:
        return [slot for slot in self.slots.values() if slot.is_idle and not self._has_traffic(slot)]

    def _has_traffic(self, slot: Slot) -> bool:
        return self.router is not None and slot.number in (self.router.live, self.router.canary)

    async def _drain(self, slot: Slot) -> None:
        """Let the open answers of a replaced version end by themselves, and cut them after the limit."""
        pending, ends_at = set(slot.leases), time.monotonic() + self.limits.drain_limit_s
        async with self._freed:
            while pending & slot.leases and time.monotonic() < ends_at:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._freed.wait(), max(0.0, ends_at - time.monotonic()))
        for lease in pending & slot.leases:
            limit = f"the limit of {self.limits.drain_limit_s:g} s"
            lease.cut(f"version {slot.number} was replaced and its answers took longer than {limit}")
        if slot.leases - pending:
            return  # somebody asked for this version by name meanwhile: it stays until nobody does
        if not self._has_traffic(slot):
            await self._retire(slot)

    async def _retire(self, slot: Slot) -> None:
        """Take a slot out and close its runner once its last lease has ended."""
        if self.slots.get(slot.number) is not slot:
            return
        del self.slots[slot.number]
        self._leaving.add(slot)
        slot.state = SlotState.DRAINING
        async with self._freed:
            await self._freed.wait_for(lambda: slot.is_idle)
        slot.state = SlotState.CLOSED
        await asyncio.get_running_loop().run_in_executor(self._threads, slot.runner.close)
        self._leaving.discard(slot)
        log.info("version %d left memory", slot.number)
        await self._notify_freed()

    def _died(self, slot: Slot, reason: str) -> None:
        """Handle a runner that ended by itself, which failed its open answers; reload the version if it has traffic."""
        if slot.state is SlotState.CLOSED or self._closed:
            return
        log.error("the runner of version %d ended: %s", slot.number, reason)
        self._failed(slot.number, reason)
        is_current = self.slots.get(slot.number) is slot
        if is_current:
            self._run(self._retire(slot))
        if is_current and self.router is not None and slot.number in (self.router.live, self.router.canary):
            self._run(self._bring_back(slot.number))

    async def _bring_back(self, number: int) -> None:
        for wait_s in itertools.chain(RELOAD_WAITS_S, itertools.repeat(RELOAD_WAITS_S[-1])):
            await asyncio.sleep(wait_s)
            if self.router is None or not self.router.serves(number):
                return
            try:
                await self.load(number)
                return
            except (EngineFailed, VersionRefused) as error:
                log.error("version %d could not be brought back: %s", number, error)

    async def _notify_freed(self) -> None:
        async with self._freed:
            self._freed.notify_all()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
