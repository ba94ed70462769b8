"""The conductor: knows the order of events from start to stop, and how traffic moves from one version to another."""

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

from fastapi import FastAPI

from service.backend_answer import Backend
from service.dispatcher import Dispatcher
from service.engine.admission import Admission
from service.engine.engine import Engine, EngineLimits, Loaded
from service.engine.router import Router
from service.engine.watcher import Seen, Watcher
from service.errors import (
    CannotStart,
    Conflict,
    EngineFailed,
    NoMemory,
    Overloaded,
    VersionRefused,
    install_error_handlers,
)
from service.event_signal import EventSignal
from service.learner_child import LearnerChild, check_learner
from service.limits import BodyLimit, Rates
from service.metrics import Measured, Metrics
from service.model import Model
from service.records import Records
from service.request_ids import RequestIds
from service.routes import (
    chat,
    comparisons,
    completions,
    conversations,
    events,
    export,
    feedback,
    health,
    models,
    page,
    raters,
    versions,
    webhooks,
)
from service.routes import learner as learner_routes
from service.settings import ServeSettings
from service.trial import HELD, PASSED, Judge, Verdict
from store.database import connect, open_store
from store.erasure import Erased, erase_rater
from store.errors import StoreError
from store.events import add_event
from store.traffic import Traffic, current_traffic, end_canary, set_canary
from store.versions import Version, ensure_base_version, get_version, live_version, roll_back, set_live, withdraw
from store.versions import versions as all_versions

log = logging.getLogger(__name__)
ROUTES = tuple(
    room.router
    for room in (
        chat,
        completions,
        models,
        feedback,
        comparisons,
        versions,
        learner_routes,
        raters,
        conversations,
        export,
        webhooks,
        events,
        health,
        page,
    )
)
MakeModel = Callable[[ServeSettings], Model]
LOAD_ATTEMPTS = 3  # a passed candidate that cannot be loaded so many times in a row is withdrawn
RETRY_S = 5.0
MEMORY_RETRY_S = 30.0
JUDGE_EVERY_S = 0.5


class Service:
    """Everything that answers people, from `open` (listening) over `begin` (answering) to `stop`."""

    def __init__(self, settings: ServeSettings, make_model: MakeModel, learner: LearnerChild | None) -> None:
        self.settings, self.learner = settings, learner
        self.model_name = settings.model
        self.is_open = False  # a version is loaded and requests are answered
        self._make_model = make_model
        self._model: Model | None = None
        self._dispatcher: Dispatcher | None = None
        self._swapping = asyncio.Lock()  # one change of traffic at a time
        self._followed: Traffic | None = None  # the split that the engine was last set to
        self._load_failures: dict[int, tuple[int, float]] = {}  # candidate -> (failures, when it may be tried again)
        self._judge, self._judged_at = Judge(settings), 0.0
        self._taking: asyncio.Task[None] | None = (
            None  # the candidate or the change of traffic that is being brought about
        )
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def model(self) -> Model:
        """The base model. Raises Overloaded while it is being read."""
        if self._model is None:
            raise Overloaded("the model is still being loaded; try again in a moment", code="loading", retry_after_s=1)
        return self._model

    @property
    def dispatcher(self) -> Dispatcher:
        """What begins answers. Raises Overloaded while there is no version to answer."""
        if self._dispatcher is None:
            raise Overloaded("the model is still being loaded; try again in a moment", code="loading", retry_after_s=1)
        return self._dispatcher

    def open(self) -> None:
        """Make everything that needs no model."""
        settings = self.settings
        open_store(settings.data).close()
        self.records = Records(settings.data)
        self.metrics, self.event_signal, self.rates = Metrics(), EventSignal(), Rates(settings.requests_per_minute)
        self.admission = Admission(settings.max_active, settings.max_queued)
        limits = EngineLimits(settings.max_slots, settings.idle_unload_s, settings.drain_limit_s, settings.memory_gib)
        self.engine = Engine(self._load, limits, self._runner_died, self._need)
        self.backends = {name: Backend(name, url, settings.request_limit_s) for name, url in settings.backends.items()}
        self._watcher = Watcher(self.records, self._act, settings.poll_s)

    async def begin(self) -> None:
        """Load the model and the live version, then follow the learner. Raises CannotStart."""
        try:
            checking = (
                asyncio.to_thread(check_learner, self.learner.command) if self.learner is not None else asyncio.sleep(0)
            )
            _, self._model = await asyncio.gather(checking, asyncio.to_thread(self._make_model, self.settings))
            await self.records.write(lambda db: ensure_base_version(db, self.model.digest))
            await self._check_memory()
            await self._load_live()
        except (StoreError, EngineFailed, VersionRefused, LookupError, ValueError, OSError, RuntimeError) as error:
            raise error if isinstance(error, CannotStart) else CannotStart(str(error)) from error
        self._dispatcher = Dispatcher(
            self.settings, self.model, self.engine, self.admission, self.records, self.metrics, self.backends
        )
        self.is_open = True
        self._watcher.start()
        if self.learner is not None:
            self.learner.start(self.metrics.learner_starts.inc)
        self._run_in_thread(self.model.prepare)

    def begin_stop(self) -> None:
        """Take no new requests; open answers may end by themselves until the limit."""
        if self.is_open:
            self.is_open = False
            self.admission.close("the service is stopping")
            self.event_signal.close()
            asyncio.get_running_loop().call_later(
                self.settings.shutdown_limit_s, self.engine.cut_all, "the service is stopping"
            )

    async def stop(self) -> None:
        """End everything in order."""
        self.begin_stop()
        await self._watcher.stop()
        for task in [*self._tasks, *([self._taking] if self._taking is not None else [])]:
            task.cancel()
        if self.learner is not None:
            await self.learner.stop()
        for backend in self.backends.values():
            await backend.close()
        await self.engine.close()
        if self._model is not None:
            await asyncio.to_thread(self._model.close)
        await asyncio.to_thread(self.records.close)

    async def promote(self, number: int, share: float | None, reason: str) -> None:
        """Let a version answer everybody, or `share` (0..1) of conversations; a share of 0 ends its canary.

        Raises UnknownVersion, WrongState, VersionRefused, EngineFailed; traffic then stays as it was.
        """
        async with self._swapping:
            await self._promote(number, share, reason)

    async def roll_back(self, to: int | None, reason: str) -> Version:
        """Let version `to` answer again, or the last one that was live before, and withdraw the present one.

        Raises UnknownVersion, WrongState, VersionRefused, EngineFailed; traffic then stays as it was.
        """
        async with self._swapping:
            return await self._roll_back(to, reason)

    async def erase(self, rater_id: str) -> Erased:
        """Erase a person and what learned from them, in memory and on disk too. Raises UnknownRater."""
        async with self._swapping:
            erased = await self.records.write(lambda db: erase_rater(db, rater_id))
            await self._follow()
            for version in erased.versions:
                self.engine.drop(version.number, "the version that answered was withdrawn")
            await asyncio.to_thread(self._remove_weights, erased.versions)
            return erased

    async def _act(self, seen: Seen) -> None:
        """What one look at the store leads to."""
        self.event_signal.publish(seen.seq)
        self.engine.unload_idle()
        if self._taking is not None and not self._taking.done():
            return  # loading takes its time, and what happens meanwhile must still be told
        if self._is_elsewhere(seen.traffic) and not self._swapping.locked():
            self._taking = asyncio.create_task(self._catch_up(), name="catch-up")
        elif time.monotonic() - self._judged_at >= JUDGE_EVERY_S:
            self._taking = asyncio.create_task(self._judge_trial(seen), name="judge")
        elif seen.candidate is not None and seen.traffic.canary is None:
            self._taking = asyncio.create_task(self._take(seen.candidate), name=f"take-{seen.candidate.number}")
        if self._taking is not None:
            self._taking.add_done_callback(_log_failure)

    async def _judge_trial(self, seen: Seen) -> None:
        """Do what people's words about a version on trial ask for; a candidate waits until a canary's trial is over."""
        self._judged_at = time.monotonic()
        verdict = await self.records.read(self._judge)
        if verdict is not None and verdict.word != "open":
            async with self._swapping:
                verdict = await self.records.read(
                    self._judge
                )  # again: somebody may have moved traffic while this waited its turn
                if verdict is not None and verdict.word != "open":
                    await self._end_trial(verdict)
        if seen.candidate is not None and seen.traffic.canary is None:
            await self._take(seen.candidate)

    async def _end_trial(self, verdict: Verdict) -> None:
        """Take the version back, or make the canary live. The caller has held `_swapping` since before the verdict."""
        trial = verdict.trial
        log.warning("version %d: %s", trial.number, verdict.said)
        if verdict.word == "held":
            await self._promote(trial.number, None, HELD)
            return
        if trial.is_canary:
            await self._promote(trial.number, 0.0, verdict.said)
        else:
            await self._roll_back(trial.rival, verdict.said)
        self.metrics.rollbacks.inc()

    async def _promote(self, number: int, share: float | None, reason: str) -> None:
        """Do what `promote` says; the caller holds `_swapping`."""
        version = await self.records.read(lambda db: get_version(db, number))
        if share == 0.0:
            await self.records.write(lambda db: end_canary(db, number, reason))
        elif version.state == "rejected":
            raise Conflict(f"version {number} was rejected by its gate and cannot answer", code="wrong_state")
        elif share is None or share == 1.0:
            await self.engine.load(number)
            await self.records.write(lambda db: set_live(db, number, reason))
            self.metrics.swaps.inc()
        else:
            await self.engine.load(number)
            await self.records.write(lambda db: set_canary(db, number, share, reason))
        await self._follow()

    async def _roll_back(self, to: int | None, reason: str) -> Version:
        """Do what `roll_back` says; the caller holds `_swapping`."""
        if to is None:
            earlier = [
                version
                for version in await self.records.read(all_versions)
                if version.state == "retired" and version.live_at
            ]
            to = max(earlier, key=lambda version: version.live_at or "").number if earlier else None
        if to is not None:
            await self.records.read(lambda db: get_version(db, to))
            await self.engine.load(to)
        version = await self.records.write(lambda db: roll_back(db, to, reason))
        self.metrics.swaps.inc()
        await self._follow()
        return version

    async def _catch_up(self) -> None:
        """Follow a change of traffic that was made elsewhere."""
        async with self._swapping:
            await self._follow()

    async def _take(self, candidate: Version) -> None:
        """Bring a candidate that passed its gate before people: load it beside, check it, then move all traffic at
        once, or a canary's share.
        """
        number = candidate.number
        failures, not_before = self._load_failures.get(number, (0, 0.0))
        if time.monotonic() < not_before:
            return
        async with self._swapping:
            live, traffic = await self.records.read(live_version), await self.records.read(current_traffic)
            if traffic.canary is not None:
                return  # a trial has begun since the store was looked at: the candidate waits until it is over
            if candidate.parent != live.number:
                await self._withdraw(
                    number, f"it was made from version {candidate.parent}, but version {live.number} is live now"
                )
                return
            try:
                await self.engine.load(number)
            except VersionRefused as error:
                self.metrics.saw_refused(number)
                await self._withdraw(number, str(error))
                return
            except NoMemory as error:  # its own fault it is not: it waits for more room
                if not failures:
                    await self._tell_failed(number, str(error))
                self._load_failures[number] = (1, time.monotonic() + MEMORY_RETRY_S)
                return
            except EngineFailed as error:
                failures += 1
                self._load_failures[number] = (failures, time.monotonic() + RETRY_S * failures)
                await self._tell_failed(number, str(error))
                if failures >= LOAD_ATTEMPTS:
                    await self._withdraw(number, f"it could not be loaded {failures} times: {error}")
                return
            share = self.settings.canary_share
            if share:
                await self.records.write(lambda db: set_canary(db, number, share, PASSED))
            else:
                await self.records.write(lambda db: set_live(db, number, PASSED))
                self.metrics.swaps.inc()
            await self._follow()

    async def _follow(self) -> None:
        """Route as the store says, once the versions that it names are loaded."""
        traffic = await self.records.read(current_traffic)
        await self.engine.load(traffic.live)
        canary = traffic.canary
        if canary is not None:
            try:
                await self.engine.load(canary)
            except (EngineFailed, VersionRefused) as error:  # live answers in its place
                await self._tell_failed(canary, str(error))
                canary = None
        self.engine.follow(Router(traffic.live, canary, traffic.share if canary is not None else 0.0))
        self._followed = traffic
        log.info(
            "version %d is live%s",
            traffic.live,
            f", version {canary} has {traffic.share:.0%}" if canary is not None else "",
        )

    async def _load_live(self) -> None:
        """Load what is live; a version that is not what was trained is rolled back, down to the base model if need be.
        """
        while True:
            live = await self.records.read(live_version)
            try:
                await self.engine.load(live.number)
            except VersionRefused as error:
                if live.number == 0:
                    raise
                log.error("version %d does not answer: %s; rolling back", live.number, error)
                self.metrics.saw_refused(live.number)
                reason = str(error)
                await self.records.write(lambda db: roll_back(db, None, reason))  # noqa: B023 -- awaited before the next turn
                continue
            await self._follow()
            return

    def _is_elsewhere(self, traffic: Traffic) -> bool:
        return self._followed != traffic

    def _load(self, number: int) -> Loaded:
        """Load one version; on a thread."""
        db = connect(self.settings.data)
        try:
            version = get_version(db, number)
        finally:
            db.close()
        return Loaded(version.digest, self.model.load(version))

    def _need(self, number: int) -> float:
        """Return the memory in GiB that a version takes; on a thread."""
        db = connect(self.settings.data)
        try:
            version = get_version(db, number)
        finally:
            db.close()
        return self.model.memory_gib(version)

    async def _check_memory(self) -> None:
        """Take what all versions share from the limit. Raise CannotStart where two versions, which a swap needs, do not
        fit the rest.
        """
        limit = self.settings.memory_gib
        if not limit:
            return
        live = await self.records.read(live_version)
        need, shared = await asyncio.to_thread(lambda: (self.model.memory_gib(live), self.model.shared_gib))
        if 2 * need + shared > limit:
            beside = f" beside {shared:.2f} GiB of base weights" if shared else ""
            said = f"one version takes about {need:.2f} GiB{beside} and a swap has two in memory, but memory_gib is {limit:g}"
            raise CannotStart(f"{said}; raise it to {2 * need + shared:.2f} or more, or lower kv_gib")
        self.engine.limits = replace(self.engine.limits, memory_gib=limit - shared)

    def _remove_weights(self, gone: Sequence[Version]) -> None:
        """Delete version folders and what the runners made of them; on a thread."""
        for version in gone:
            if version.folder:
                shutil.rmtree(self.settings.data / version.folder, ignore_errors=True)
        shutil.rmtree(self.settings.data / "cache", ignore_errors=True)  # made again when it is needed

    async def _withdraw(self, number: int, reason: str) -> None:
        log.error("version %d is withdrawn: %s", number, reason)
        await self.records.write(lambda db: withdraw(db, number, reason))

    async def _tell_failed(self, number: int, error: str) -> None:
        await self.records.write(lambda db: add_event(db, "slot.failed", {"version": number, "error": error}))

    def _runner_died(self, number: int, reason: str) -> None:
        self.metrics.slot_failures.inc()
        with contextlib.suppress(StoreError):
            self.records.submit(lambda db: add_event(db, "slot.failed", {"version": number, "error": reason}))

    def _run_in_thread(self, work: Callable[[], None]) -> None:
        task = asyncio.create_task(asyncio.to_thread(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def create_app(
    settings: ServeSettings,
    make_model: MakeModel,
    *,
    learner: LearnerChild | None = None,
    began: Callable[[Service], None] = lambda service: None,
    failed: Callable[[str], None] = log.error,
) -> FastAPI:
    """Return the ASGI application. `began` is called once it answers, `failed` with one line when it cannot."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = app.state.service = Service(settings, make_model, learner)
        service.open()
        beginning = asyncio.create_task(_begin(service, began, failed))
        try:
            yield
        finally:
            beginning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beginning
            await service.stop()

    summary = "A chat assistant that learns from the people who use it."
    app = FastAPI(title="Attune", summary=summary, version=_version(), lifespan=lifespan, docs_url=None, redoc_url=None)
    for routes in ROUTES:
        app.include_router(routes)
    install_error_handlers(app)
    page.mount_page(app)
    app.add_middleware(BodyLimit, max_bytes=int(settings.max_body_mb * 2**20))
    app.add_middleware(Measured)
    app.add_middleware(RequestIds)
    return app


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a change of traffic failed; it is tried again", exc_info=error)


async def _begin(service: Service, began: Callable[[Service], None], failed: Callable[[str], None]) -> None:
    try:
        await service.begin()
    except CannotStart as error:
        failed(str(error))
    except Exception as error:
        log.exception("the service could not begin")
        failed(f"the service could not begin: {error}")
    else:
        began(service)


def _version() -> str:
    try:
        return installed_version("attune-server")
    except PackageNotFoundError:
        return "0"
