"""The conductor: watches the store, starts updates, publishes what came of them, and takes up what a crash left behind."""

import json
import logging
import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlite_utils import Database

from learner.data.datasets import render_with
from learner.data.material import FeedbackRange, material_of
from learner.data.plan import halved, seed_of
from learner.errors import BadSetting, Diverged, NothingToLearn
from learner.heartbeat import Voice, Word
from learner.methods.mixed import Cost
from learner.model.resident import Resident
from learner.publish import publish
from learner.reward_model.model import next_reward_folder
from learner.schedule import Decision, Situation, Trigger, back_off_s, decision
from learner.settings import SHARED, LearnerSettings, load_settings, settings_of_run
from learner.tensorboard import TensorBoardLog
from learner.update import Updater, optimizer_state_path
from policy.errors import first_line
from store.database import open_store, transaction
from store.feedback import count_to_learn
from store.ids import new_id, now
from store.learner import learner_status, set_attempted, set_detail, set_paused, take_orders
from store.raters import set_trust
from store.runs import Run, add_run, fail_run, finish_run, note_run, restart_run, runs, unfinished_run
from store.versions import ensure_base_version, get_version, live_version, passed_candidate

log = logging.getLogger(__name__)
LOOK_S = 0.2
KEEP_EVERY_S = 2.0  # what a run has come to is written down so often
MOST_ATTEMPTS = 5  # at one run, before it counts as failed: something in it kills the process
GIVE_UP_AFTER = 3  # failed runs in a row on the same items
RETRY_OF = "retry_of"  # in a run's settings: the run whose version the gate rejected
NOT_KEPT = {*SHARED, "nice"}  # settings of the process and not of a run, which may be taken up by another


class Loop:
    """One learner. `stop` ends it between two steps of its work."""

    def __init__(self, settings: LearnerSettings, stop: threading.Event) -> None:
        self.settings, self._stop = settings, stop
        self.db = open_store(settings.data)
        self._voice = Voice(settings.data)
        self._ordered, self._closed = False, False
        self.why_none = ""  # why `run(once=True)` had no update to make
        self.failure = ""  # of the last run, as it is on record
        self._trigger = Trigger(settings.trigger.feedback, settings.trigger.seconds, settings.trigger.min_feedback)
        self.resident = Resident(settings)
        with transaction(self.db):
            ensure_base_version(self.db, self.resident.base_digest)
            set_detail(self.db, self._detail())
        self._updater = Updater(self.resident, settings)

    def run(self, *, once: bool = False) -> int:
        """Learn until stopped; with `once` make at most one update, with whatever waits. Return how many runs were
        made.
        """
        made = 0
        try:
            self._updater.probes()  # a file that is none is noticed before anybody waits
            self._updater.anchors()  # made now rather than in the first update, for which somebody waits
            made += self.take_up()
            while not self._stop.is_set() and not (once and made):
                if self.tick(ordered=once):
                    made += 1
                elif once:
                    self.why_none = self._why_none()
                    break
                else:
                    self._stop.wait(LOOK_S)
        finally:
            self.close()
        return made

    def close(self) -> None:
        """Say that the learner is down. Doing so twice changes nothing."""
        if not self._closed:
            self._closed = True
            self._voice.close()
            self.db.close()

    def tick(self, *, ordered: bool = False) -> bool:
        """Look once; make an update if one is due, and return whether one was made. `ordered`: as if somebody had asked
        for it.
        """
        chosen = self.decide(ordered=ordered)
        if chosen.start:
            self._start(chosen)
        return bool(chosen.start)

    def decide(self, *, ordered: bool = False) -> Decision:
        """Look at the store once, take orders, tell people where things stand, and decide."""
        with transaction(self.db):
            for kind in take_orders(self.db):
                self._ordered = self._ordered or kind == "update"
                if kind in ("pause", "resume"):
                    set_paused(self.db, kind == "pause")
        live, status, last = live_version(self.db), learner_status(self.db), runs(self.db, GIVE_UP_AFTER)
        waiting, first_at, _ = count_to_learn(self.db, max(live.watermark, status.attempted_seq))
        ordered = self._ordered or ordered
        situation = Situation(
            waiting=waiting,
            first_at=datetime.fromisoformat(first_at) if first_at else None,
            unlearned=count_to_learn(self.db, live.watermark)[0] if ordered else waiting,
            paused=status.paused,
            ordered=ordered,
            candidate_waits=passed_candidate(self.db) is not None,
            retry_due=_retry_is_due(self.db, last, live.number),
            not_before=_not_before(last),
        )
        chosen = decision(situation, self._trigger, datetime.now(UTC))
        if ordered and not situation.candidate_waits:
            self._ordered = False  # obeyed, or there is nothing to learn from
        next_at = chosen.next_at.isoformat() if chosen.next_at else None
        if (
            situation.candidate_waits and last and not status.paused
        ):  # an update is not over before its version is served
            progress = {
                "phase": "swap",
                "step": 0,
                "steps": 0,
                "loss": None,
                "metrics": {},
                "started_at": last[0].started_at,
                "items": last[0].items,
            }
            self._voice.tell(Word("running", last[0].id, {**progress, "algorithm": last[0].algorithm}))
        else:
            self._voice.tell(Word("paused" if status.paused else "idle", next_at=next_at))
        return chosen

    def _why_none(self) -> str:
        """Say why no update was made though one was ordered: see `decision`."""
        candidate = passed_candidate(self.db)
        if candidate is not None:
            return f"no update: version {candidate.number} passed its gate and waits to be served, and the next update starts from what is live then"
        return f"no update: nothing waits to be learned from that version {live_version(self.db).number} has not learned from"

    def take_up(self) -> bool:
        """Do a run again that a crash interrupted; return whether there was one that could be.

        It could not if the version it started from is not live any more, or if it seems to kill the process.
        """
        run = unfinished_run(self.db)
        if run is None:
            return False
        if run.parent != live_version(self.db).number:
            self._fail(
                run,
                f"it was interrupted, and version {run.parent}, from which it started, is not live any more",
                give_up=False,
            )
            return False
        if run.attempt >= MOST_ATTEMPTS:
            self._fail(run, f"the learner ended {run.attempt} times in the middle of it", give_up=True)
            return False
        with transaction(self.db):
            again = restart_run(self.db, run.id)
        log.info("%s: begins again, attempt %d", run.id, again.attempt)
        self._make(again)
        return True

    def _start(self, chosen: Decision) -> None:
        live, last = live_version(self.db), runs(self.db, 1)
        settings, extra = self.settings, {}
        upto_seq = count_to_learn(self.db, live.watermark)[2]
        if chosen.start == "retry":
            settings, extra, upto_seq = halved(settings), {RETRY_OF: last[0].id}, last[0].upto_seq
        kept = (
            settings.model_dump(mode="json", exclude={"data", "nice"}) | extra
        )  # on what model and device is for people to read
        with transaction(self.db):
            count = self.db.table("runs").count
            items = count_to_learn(self.db, live.watermark)[0]
            seed = seed_of(settings.seed, count, live.number, upto_seq)
            run = Run(
                new_id("run-"),
                settings.algorithm,
                "running",
                kept,
                seed,
                live.number,
                items,
                live.watermark,
                upto_seq,
                now(),
            )
            add_run(self.db, run)
        log.info("%s: starts on version %d with %d items (%s)", run.id, run.parent, items, chosen.start)
        self._make(run)

    def _make(self, run: Run) -> None:
        """Carry out a run that is on record, and record how it ended."""
        self.failure = ""
        try:
            settings = _settings_of(run, self.settings)
        except BadSetting as error:  # it was planned by another release
            return self._fail(run, f"its settings are refused now: {_one_line(error)}", give_up=False)
        scalars = TensorBoardLog(self.settings.data / "logs" / "runs" / f"{run.id}-{run.attempt}")
        curve: list[dict[str, float | None]] = []
        kept_at, cost = time.monotonic(), Cost()

        def keep() -> None:
            try:
                with transaction(self.db):
                    note_run(self.db, run.id, {**(curve[-1] if curve else {}), **cost.so_far(), "curve": curve})
            except sqlite3.OperationalError as error:  # busy, or a full disk: the curve can wait, the run goes on
                log.warning("%s: its metrics so far could not be written: %s", run.id, error)

        def phase(name: str, step: int, steps: int, loss: float | None, metrics: dict[str, float]) -> None:
            nonlocal kept_at
            if self._stop.is_set():
                raise Interrupted
            told = {key: round(value, 5) for key, value in metrics.items() if value == value}
            progress = {
                "phase": name,
                "step": step,
                "steps": steps,
                "loss": loss,
                "metrics": told,
                "started_at": run.started_at,
                "items": run.items,
            }
            self._voice.tell(Word("running", run.id, {**progress, "algorithm": run.algorithm}))
            if name == "train":
                scalars.add(step, {"loss": loss, **metrics})
                curve.append({"step": step, "loss": loss, **told})
                if time.monotonic() - kept_at > KEEP_EVERY_S:
                    kept_at = time.monotonic()
                    keep()

        try:
            material = material_of(
                self.db,
                FeedbackRange.of_run(run),
                render_with(self.resident.tokenizer),
                max_tokens=self.resident.context_length,
            )
            result = self._updater.update(run, material, settings, phase)
            metrics = result.metrics | {"curve": result.trained.curve}
            scalars.add(
                result.trained.steps,
                {name: value for name, value in result.metrics.items() if isinstance(value, float)},
            )
            with transaction(self.db):
                set_trust(self.db, result.trust)
            version = publish(
                self.db,
                settings.data,
                self.resident,
                run,
                feedback_ids=result.feedback_ids,
                metrics=metrics,
                report=result.report,
            )
            result.optimizer.write(optimizer_state_path(settings.data, version.number), version.digest)
            if result.rewards is not None:
                result.rewards.write(
                    next_reward_folder(settings.data), run.seed, run.settings, base_model=settings.model
                )
            log.info(
                "%s: version %d, %s",
                run.id,
                version.number,
                "passed" if version.passed else "; ".join(result.report["reasons"]),
            )
        except Interrupted:
            log.info("%s: left unfinished; it begins again with the next start", run.id)
        except NothingToLearn as error:
            with transaction(self.db):
                finish_run(self.db, run.id, None, {"nothing": str(error)})
                set_attempted(self.db, run.upto_seq)
            log.info("%s: %s", run.id, error)
        except Exception as error:  # whatever it is, people are served on
            log.exception("%s failed", run.id)
            keep()
            failures = _failures_in_a_row(runs(self.db, GIVE_UP_AFTER)) + 1
            self._fail(run, _one_line(error), give_up=isinstance(error, Diverged) or failures >= GIVE_UP_AFTER)
        finally:
            scalars.close()

    def _fail(self, run: Run, reason: str, *, give_up: bool) -> None:
        self.failure = reason
        with transaction(self.db):
            fail_run(self.db, run.id, reason)
            if give_up:
                set_attempted(self.db, run.upto_seq)
        log.warning("%s failed: %s", run.id, reason)

    def _detail(self) -> dict[str, Any]:
        trigger = {"items": self._trigger.items, "seconds": self._trigger.seconds, "min_items": self._trigger.min_items}
        about = {
            "model": self.settings.model,
            "device": str(self.resident.device),
            "parameters": self.resident.num_parameters,
        }
        return {"trigger": trigger, "algorithm": self.settings.algorithm, "tuning": self.settings.tuning, **about}


class Interrupted(BaseException):
    """The learner is asked to stop in the middle of a run."""


def _settings_of(run: Run, settings: LearnerSettings) -> LearnerSettings:
    """Return the settings that a run was planned with, on this process's data, model and device."""
    kept = settings_of_run({name: value for name, value in run.settings.items() if name != RETRY_OF})
    return load_settings({**kept, **{name: getattr(settings, name) for name in NOT_KEPT}})


def _retry_is_due(db: Database, last: list[Run], live: int) -> bool:
    """Whether the newest run's version was rejected, started from live, and was not itself a second try."""
    if (
        not last
        or last[0].state != "finished"
        or last[0].version is None
        or last[0].parent != live
        or RETRY_OF in last[0].settings
    ):
        return False
    return get_version(db, last[0].version).state == "rejected"


def _failures_in_a_row(last: list[Run]) -> int:
    count = 0
    for run in last:
        if run.state == "failed":
            count += 1
        elif run.state != "running":
            break
    return count


def _not_before(last: list[Run]) -> datetime | None:
    failures = _failures_in_a_row(last)
    if not failures or last[0].finished_at is None:
        return None
    return datetime.fromisoformat(last[0].finished_at) + timedelta(seconds=back_off_s(failures))


def _one_line(error: Exception) -> str:
    return json.dumps(first_line(error), ensure_ascii=False)[1:-1][:500]
