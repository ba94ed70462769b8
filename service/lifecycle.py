"""The parts of the service's process, and the order in which they begin and stop."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import replace

from policy.chat_template import read_template
from policy.served_model import ServedModel, record_served
from service.async_store import Records
from service.backend_answer import Backend
from service.dispatcher import Dispatcher
from service.engine.admission import Admission
from service.engine.slot_pool import EngineLimits, Loaded, SlotPool
from service.engine.watcher import Snapshot, Watcher
from service.errors import CannotStart, EngineFailed, Overloaded, VersionRefused
from service.event_feed import EventFeed, StreamCounts
from service.learner_child import LearnerChild, check_learner
from service.limits import RateLimiter
from service.metrics import Metrics
from service.model import Model
from service.readiness import StoreCheck
from service.settings import ServeSettings
from service.traffic import TrafficControl
from store.database import connect, open_store
from store.errors import StoreError
from store.events import Event, add_event, events_after, last_event_seq
from store.versions import Version, ensure_base_version, get_version, live_version

MakeModel = Callable[[ServeSettings], Model]
STOPPING = "the service is stopping"


class Service:
    """All parts of the process, from `open` (listening) over `begin` (answering) to `stop`."""

    def __init__(self, settings: ServeSettings, make_model: MakeModel, learner: LearnerChild | None) -> None:
        self.settings, self.learner = settings, learner
        self.model_name = settings.model
        self.is_open = False  # a version is loaded and requests are answered
        self._make_model = make_model
        self._model: Model | None = None
        self._dispatcher: Dispatcher | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def model(self) -> Model:
        """The base model. Raises Overloaded while it is loading."""
        if self._model is None:
            raise _still_loading()
        return self._model

    @property
    def dispatcher(self) -> Dispatcher:
        """What begins answers. Raises Overloaded while no version is loaded."""
        if self._dispatcher is None:
            raise _still_loading()
        return self._dispatcher

    def open(self) -> None:
        """Make every part that needs no model."""
        settings = self.settings
        with contextlib.closing(open_store(settings.data)) as db:
            newest = last_event_seq(db)
        self.records = Records(settings.data)
        self.metrics = Metrics()
        self.event_feed = EventFeed(self._read_events, newest)
        self.event_streams = StreamCounts(settings.limits.event_streams)
        self.rates = RateLimiter(settings.limits.requests_per_minute)
        self.admission = Admission(settings.limits.max_active, settings.limits.max_queued)
        limits = EngineLimits(
            settings.engine.max_slots,
            settings.engine.idle_unload_s,
            settings.limits.drain_s,
            settings.engine.memory_gib,
        )
        self.engine = SlotPool(self._load, limits, self._record_runner_failure, self._memory_need)
        self.traffic = TrafficControl(settings, self.engine, self.records, self.metrics)
        self.backends = {name: Backend(name, url, settings.limits.request_s) for name, url in settings.backends.items()}
        self._watcher = Watcher(self.records, self._react, settings.engine.poll_s)
        self.store_check = StoreCheck(self.records)

    async def begin(self) -> None:
        """Load the model and the live version, then follow the learner. Raises CannotStart."""
        try:
            checking = (
                asyncio.to_thread(check_learner, self.learner.command) if self.learner is not None else asyncio.sleep(0)
            )
            _, self._model = await asyncio.gather(checking, asyncio.to_thread(self._make_model, self.settings))
            await self.records.write(lambda db: ensure_base_version(db, self.model.digest))
            await asyncio.to_thread(self._record_model)
            await self._reserve_shared_memory()
            await self.traffic.start()
        except (
            StoreError,
            sqlite3.Error,
            EngineFailed,
            VersionRefused,
            LookupError,
            ValueError,
            OSError,
            RuntimeError,
        ) as error:
            raise error if isinstance(error, CannotStart) else CannotStart(str(error)) from error
        self._dispatcher = Dispatcher(
            self.settings, self.model, self.engine, self.admission, self.records, self.metrics, self.backends
        )
        self.is_open = True
        self._watcher.start()
        if self.learner is not None:
            self.learner.start(self.metrics.learner_starts.inc, self._record_learner_hang)
        self._run_in_thread(self.model.prepare)

    def _record_model(self) -> None:
        """Keep with the data folder which model it serves, for exports."""
        template = self.settings.chat_template
        text = read_template(template) if template is not None else None
        record_served(self.settings.data, ServedModel(self.settings.model, self.model.digest, text))

    def begin_stop(self) -> None:
        """Take no new requests; open answers may end by themselves until `shutdown_limit_s`."""
        self.event_feed.close()
        if self.is_open:
            self.is_open = False
            self.admission.close(STOPPING)
            asyncio.get_running_loop().call_later(self.settings.limits.shutdown_s, self.engine.cut_all, STOPPING)

    async def stop(self) -> None:
        """End every part in order."""
        self.begin_stop()
        if self._dispatcher is not None:
            self._dispatcher.close()
        await self._watcher.stop()
        self.traffic.stop()
        for task in self._tasks:
            task.cancel()
        learner = [self.learner.stop()] if self.learner is not None else []
        await asyncio.gather(
            *learner, *(backend.close() for backend in self.backends.values()), self._close_engine_and_model()
        )
        await asyncio.to_thread(self.records.close)

    async def _close_engine_and_model(self) -> None:
        await self.engine.close()
        if self._model is not None:
            await asyncio.to_thread(self._model.close)  # last: runners may use its weights

    async def _react(self, snapshot: Snapshot) -> None:
        self.event_feed.publish(snapshot.seq)
        self.engine.unload_idle()
        self.traffic.react(snapshot)

    async def _read_events(self, after: int, limit: int) -> list[Event]:
        return await self.records.read(lambda db: events_after(db, after, limit))

    def _load(self, number: int) -> Loaded:
        """Load one version; on a thread."""
        version = self._version(number)
        return Loaded(version.digest, self.model.load(version))

    def _memory_need(self, number: int) -> float:
        """Return the memory in GiB that a version takes; on a thread."""
        return self.model.memory_gib(self._version(number))

    def _version(self, number: int) -> Version:
        with contextlib.closing(connect(self.settings.data)) as db:
            return get_version(db, number)

    async def _reserve_shared_memory(self) -> None:
        """Subtract what all versions share from the engine's memory limit.

        Raises CannotStart where two versions, which a swap needs, do not fit into the rest.
        """
        limit = self.settings.engine.memory_gib
        if not limit:
            return
        live = await self.records.read(live_version)
        need, shared = await asyncio.to_thread(lambda: (self.model.memory_gib(live), self.model.shared_gib))
        if 2 * need + shared > limit:
            beside = f" beside {shared:.2f} GiB of base weights" if shared else ""
            raise CannotStart(
                f"one version takes about {need:.2f} GiB{beside} and a swap has two in memory, "
                f"but memory_gib is {limit:g}; raise it to {2 * need + shared:.2f} or more, or lower kv_gib"
            )
        self.engine.limits = replace(self.engine.limits, memory_gib=limit - shared)

    def _record_runner_failure(self, number: int, reason: str) -> None:
        self.metrics.slot_failures.inc()
        with contextlib.suppress(StoreError):
            self.records.submit(lambda db: add_event(db, "slot.failed", {"version": number, "error": reason}))

    def _record_learner_hang(self, reason: str) -> None:
        self.metrics.learner_hangs.inc()
        with contextlib.suppress(StoreError):
            self.records.submit(lambda db: add_event(db, "learner.hung", {"error": reason}))

    def _run_in_thread(self, work: Callable[[], None]) -> None:
        task = asyncio.create_task(asyncio.to_thread(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _still_loading() -> Overloaded:
    return Overloaded("the model is still being loaded; try again in a moment", code="loading", retry_after_s=1)
