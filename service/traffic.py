"""Which version answers whom, and how that changes: promotion, rollback, trials, and new candidates of the learner."""

import asyncio
import logging
import sqlite3
import time

from service.async_store import Records
from service.engine.router import Router
from service.engine.slot_pool import SlotPool
from service.engine.watcher import Snapshot
from service.erased_files import remove_learned
from service.errors import Conflict, EngineFailed, NoMemory, VersionRefused
from service.metrics import Metrics
from service.settings import ServeSettings
from service.version_trial import HELD, PASSED, TrialMonitor, Verdict
from store.distrust import withdraw_learned
from store.erasure import Erased, erase_rater
from store.events import add_event
from store.lineage import heir_of, learned_from
from store.scrubbing import rewrite
from store.traffic import Traffic, current_traffic, end_canary, set_canary
from store.versions import Version, get_version, live_version, roll_back, set_live, versions, withdraw

log = logging.getLogger(__name__)
LOAD_ATTEMPTS = 3  # a candidate that fails to load so many times in a row is withdrawn
RETRY_S = 5.0
MEMORY_RETRY_S = 30.0
TRIAL_INTERVAL_S = 0.5


class TrafficControl:
    """Moves traffic between versions: the engine loads a version first, then the store and the router change.

    Used from the event loop only; `_changing` allows one change of traffic at a time.
    """

    def __init__(self, settings: ServeSettings, engine: SlotPool, records: Records, metrics: Metrics) -> None:
        self._settings, self._engine, self._records, self._metrics = settings, engine, records, metrics
        self.trial_monitor = TrialMonitor(settings.canary)
        self.trial_checked_at = 0.0
        self._changing = asyncio.Lock()
        self._routed: Traffic | None = None  # the split that the engine was last set to
        self._load_failures: dict[int, tuple[int, float]] = {}  # candidate -> (failures, when to try again)
        self._reaction: asyncio.Task[None] | None = None  # to the last snapshot that asked for one

    @property
    def is_reacting(self) -> bool:
        """Whether a change of traffic is under way that a snapshot asked for."""
        return self._reaction is not None and not self._reaction.done()

    async def promote(self, number: int, share: float | None, reason: str) -> None:
        """Let a version answer everybody, or `share` (0..1) of conversations; a share of 0 ends its canary.

        Raises UnknownVersion, WrongState, VersionRefused, EngineFailed; traffic then stays as it was.
        """
        async with self._changing:
            await self._promote(number, share, reason)

    async def roll_back(self, to: int | None, reason: str) -> Version:
        """Let version `to` answer again, or the last one that was live before, and withdraw the present one.

        Raises UnknownVersion, WrongState, VersionRefused, EngineFailed; traffic then stays as it was.
        """
        async with self._changing:
            return await self._roll_back(to, reason)

    async def erase(self, rater_id: str) -> tuple[Erased, bool]:
        """Erase a person with the versions and reward models that learned from them, in memory and on disk.

        Return what was erased, and whether no file of the database holds deleted rows any more. Raises UnknownRater.
        """
        async with self._changing:
            erased = await self._records.write(lambda db: erase_rater(db, rater_id))
            await self._route()
            for version in erased.versions:
                self._engine.drop(version.number, "the version that answered was withdrawn")
            await asyncio.to_thread(remove_learned, self._settings.data, erased)
            return erased, await asyncio.to_thread(self._rewrite_database)

    async def withdraw_learned(self, rater_id: str, reason: str) -> tuple[list[Version], Version]:
        """Withdraw what learned from a rater, and keep the rater out of learning; return it and what is live.

        Raises UnknownRater, VersionRefused, EngineFailed; traffic then stays as it was.
        """
        async with self._changing:
            heir = await self._records.read(
                lambda db: heir_of(db, [version.number for version in learned_from(db, rater_id)])
            )
            await self._engine.load(heir.number)
            done = await self._records.write(lambda db: withdraw_learned(db, rater_id, reason))
            await self._route()
            return done

    async def start(self) -> None:
        """Load what is live. A version that is not what was trained is rolled back, to the base model if need be.

        Raises VersionRefused for the base model, EngineFailed.
        """
        while True:
            live = await self._records.read(live_version)
            try:
                await self._engine.load(live.number)
            except VersionRefused as error:
                if live.number == 0:
                    raise
                log.error("version %d does not answer: %s; rolling back", live.number, error)
                self._metrics.count_refused_version(live.number)
                reason = str(error)
                await self._records.write(lambda db: roll_back(db, None, reason))  # noqa: B023 -- awaited in this turn
                continue
            await self._route()
            return

    def react(self, snapshot: Snapshot) -> None:
        """Begin what a snapshot of the store asks for, unless an earlier reaction is still under way."""
        if self.is_reacting:
            return
        if self._routed != snapshot.traffic and not self._changing.locked():
            work = self._follow_store()
        elif time.monotonic() - self.trial_checked_at >= TRIAL_INTERVAL_S:
            work = self._check_trial(snapshot)
        elif snapshot.candidate is not None and snapshot.traffic.canary is None:
            work = self._take_candidate(snapshot.candidate)
        else:
            return
        self._reaction = asyncio.create_task(work, name="traffic")
        self._reaction.add_done_callback(_log_failure)

    def stop(self) -> None:
        """Cancel the reaction under way."""
        if self._reaction is not None:
            self._reaction.cancel()

    async def _check_trial(self, snapshot: Snapshot) -> None:
        """Act on the verdict of a trial; a candidate waits until a canary's trial is over."""
        self.trial_checked_at = time.monotonic()
        verdict = await self._records.read(self.trial_monitor.verdict)
        if verdict is not None and verdict.decision != "open":
            async with self._changing:
                verdict = await self._records.read(self.trial_monitor.verdict)  # traffic may have moved meanwhile
                if verdict is not None and verdict.decision != "open":
                    await self._end_trial(verdict)
        if snapshot.candidate is not None and snapshot.traffic.canary is None:
            await self._take_candidate(snapshot.candidate)

    async def _end_trial(self, verdict: Verdict) -> None:
        """Take the version back, or make the canary live. The caller holds `_changing` since before the verdict."""
        trial = verdict.trial
        log.warning("version %d: %s", trial.number, verdict.summary)
        if verdict.decision == "held":
            await self._promote(trial.number, None, HELD)
            return
        if trial.is_canary:
            await self._promote(trial.number, 0.0, verdict.summary)
        else:
            await self._roll_back(trial.rival, verdict.summary)
        self._metrics.rollbacks.inc()

    async def _promote(self, number: int, share: float | None, reason: str) -> None:
        """See `promote`; the caller holds `_changing`."""
        version = await self._records.read(lambda db: get_version(db, number))
        if share == 0.0:
            await self._records.write(lambda db: end_canary(db, number, reason))
        elif version.state == "rejected":
            raise Conflict(f"version {number} was rejected by its gate and cannot answer", code="wrong_state")
        elif share is None or share == 1.0:
            await self._engine.load(number)
            await self._records.write(lambda db: set_live(db, number, reason))
            self._metrics.swaps.inc()
        else:
            await self._engine.load(number)
            await self._records.write(lambda db: set_canary(db, number, share, reason))
        await self._route()

    async def _roll_back(self, to: int | None, reason: str) -> Version:
        """See `roll_back`; the caller holds `_changing`."""
        if to is None:
            found = await self._records.read(versions)
            earlier = [version for version in found if version.state == "retired" and version.live_at]
            to = max(earlier, key=lambda version: version.live_at or "").number if earlier else None
        if to is not None:
            await self._records.read(lambda db: get_version(db, to))
            await self._engine.load(to)
        version = await self._records.write(lambda db: roll_back(db, to, reason))
        self._metrics.swaps.inc()
        await self._route()
        return version

    async def _follow_store(self) -> None:
        """Follow a change of traffic that another process made."""
        async with self._changing:
            await self._route()

    async def _take_candidate(self, candidate: Version) -> None:
        """Load a candidate that passed its gate, then give it all traffic at once, or a canary's share."""
        number = candidate.number
        _, not_before = self._load_failures.get(number, (0, 0.0))
        if time.monotonic() < not_before:
            return
        async with self._changing:
            live, traffic = await self._records.read(live_version), await self._records.read(current_traffic)
            if traffic.canary is not None:
                return  # a trial has begun since the snapshot: the candidate waits until it is over
            if candidate.parent != live.number:
                parent = f"it was made from version {candidate.parent}, but version {live.number} is live now"
                await self._withdraw(number, parent)
                return
            if not await self._load_candidate(number):
                return
            share = self._settings.canary.share
            if share:
                await self._records.write(lambda db: set_canary(db, number, share, PASSED))
            else:
                await self._records.write(lambda db: set_live(db, number, PASSED))
                self._metrics.swaps.inc()
            await self._route()

    async def _load_candidate(self, number: int) -> bool:
        """Return whether a candidate is loaded; after a failure it is tried again later, or withdrawn."""
        failures, _ = self._load_failures.get(number, (0, 0.0))
        try:
            await self._engine.load(number)
        except VersionRefused as error:
            self._metrics.count_refused_version(number)
            await self._withdraw(number, str(error))
        except NoMemory as error:  # not the candidate's fault: it waits for more memory
            if not failures:
                await self._record_failure(number, str(error))
            self._load_failures[number] = (1, time.monotonic() + MEMORY_RETRY_S)
        except EngineFailed as error:
            failures += 1
            self._load_failures[number] = (failures, time.monotonic() + RETRY_S * failures)
            await self._record_failure(number, str(error))
            if failures >= LOAD_ATTEMPTS:
                await self._withdraw(number, f"it could not be loaded {failures} times: {error}")
        else:
            return True
        return False

    async def _route(self) -> None:
        """Route as the store says, once the versions that it names are loaded."""
        traffic = await self._records.read(current_traffic)
        await self._engine.load(traffic.live)
        canary = traffic.canary
        if canary is not None:
            try:
                await self._engine.load(canary)
            except (EngineFailed, VersionRefused) as error:  # live answers instead
                await self._record_failure(canary, str(error))
                canary = None
        self._engine.follow(Router(traffic.live, canary, traffic.share if canary is not None else 0.0))
        self._routed = traffic
        split = f", version {canary} has {traffic.share:.0%}" if canary is not None else ""
        log.info("version %d is live%s", traffic.live, split)

    async def _withdraw(self, number: int, reason: str) -> None:
        log.error("version %d is withdrawn: %s", number, reason)
        await self._records.write(lambda db: withdraw(db, number, reason))

    async def _record_failure(self, number: int, error: str) -> None:
        await self._records.write(lambda db: add_event(db, "slot.failed", {"version": number, "error": error}))

    def _rewrite_database(self) -> bool:
        """Return whether the database was written anew, without what was deleted; on a thread."""
        try:
            done = rewrite(self._settings.data)
        except sqlite3.Error as error:
            log.error("the database still holds deleted rows: it could not be written anew (%s)", error)
            return False
        if not done:
            log.error("the write-ahead log still holds deleted rows: another process reads the database")
        return done


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a change of traffic failed; it is tried again", exc_info=error)
