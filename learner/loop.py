"""The conductor: watches the store, starts updates, publishes their versions, and takes up what a crash left behind."""

import json
import logging
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlite_utils import Database

from learner.data.datasets import render_with
from learner.data.material import FeedbackRange, Material, material_of
from learner.data.plan import halved, seed_of
from learner.errors import BadSetting, Diverged, NothingToLearn
from learner.heartbeat import Heartbeat, LearnerReport
from learner.model.optimizer import optimizer_state_path
from learner.model.resident import Resident
from learner.preparation import (
    LOOK_S,
    DueWatch,
    Interrupted,
    UpdateDue,
    may_prepare,
    preparing_report,
    with_anchors_at_hand,
)
from learner.priority import prompt_transaction
from learner.publish import publish
from learner.reward_follower import RewardFollower
from learner.run_history import BESIDE_SETTINGS, RETRY_OF, REWARDS_FROM, failures_in_a_row, may_retry, not_before
from learner.run_recorder import RunRecorder, report_progress
from learner.schedule import Decision, Situation, decision
from learner.setting_names import RENAMED, not_followed
from learner.settings import SHARED, LearnerSettings, load_settings, settings_of_run
from learner.update import Updater
from learner.update_result import UpdateResult
from policy.errors import first_line
from store.database import open_store
from store.distrust import set_trust
from store.feedback import count_to_learn
from store.ids import new_id, now
from store.learner import learner_status, orders_wait, set_attempted, set_detail, set_paused, take_orders
from store.runs import Run, add_run, fail_run, finish_run, restart_run, runs, set_run_settings, unfinished_run
from store.versions import ensure_base_version, get_version, live_version, passed_candidate

log = logging.getLogger(__name__)
MOST_ATTEMPTS = 5  # at one run, before it counts as failed: something in it kills the process
GIVE_UP_AFTER = 3  # failed runs in a row on the same feedback
NOT_KEPT = {
    *SHARED,
    "nice",
    "threads",
    "sampler",
}  # settings of the process and not of a run, which another process may take up


class Loop:
    """One learner. Setting `stop` ends it between two steps of its work."""

    def __init__(self, settings: LearnerSettings, stop: threading.Event) -> None:
        self.settings, self._stop = settings, stop
        self.db = open_store(settings.data)
        self._heartbeat = Heartbeat(settings.data)
        self._ordered, self._closed = False, False
        self._due: Decision | None = None
        self.why_none = ""
        """Why `run(once=True)` had no update to make."""
        self.failure = ""
        """Why the last run failed, as it is on record."""
        self.resident = Resident(settings)
        with prompt_transaction(self.db):
            ensure_base_version(self.db, self.resident.base_digest)
            set_detail(self.db, self._detail())
        self._updater = Updater(self.resident, settings)
        self._rewards = RewardFollower(self.db, settings, self.resident, self._updater)

    def run(self, *, once: bool = False) -> int:
        """Learn until stopped; return how many runs were made. `once` makes at most one, with whatever waits."""
        made = 0
        try:
            self._updater.skill_probes()  # a bad file is found before anybody waits
            self._updater.anchors()
            made += self.take_up()
            while not self._stop.is_set() and not (once and made):
                if self.tick(ordered=once):
                    made += 1
                elif once:
                    self.why_none = self._why_none()
                    break
                elif not self.prepare():
                    self._stop.wait(LOOK_S)
        except Interrupted:
            pass
        finally:
            self.close()
        return made

    def close(self) -> None:
        """Report that the learner is down. A second call changes nothing."""
        if not self._closed:
            self._closed = True
            self.resident.sampler.close()
            self._heartbeat.close()
            self.db.close()

    def tick(self, *, ordered: bool = False) -> bool:
        """Look once, and make an update if one is due; return whether one was made.

        `ordered`: as if somebody had asked for one.
        """
        chosen, self._due = self._due or self.decide(ordered=ordered), None
        if chosen.start:
            self._start(chosen)
        elif not self._stop.is_set():
            self._rewards.follow()
        return bool(chosen.start)

    def prepare(self) -> bool:
        """Make a part of the anchors, if they will be needed and nothing else is to be done; return whether it did so.

        An update that is due ends it, and the next `tick` makes it. Raises Interrupted when the learner is to stop.
        """
        if self._updater.anchors().is_complete or not may_prepare(self.db):
            return False
        self._heartbeat.report(preparing_report(self._updater.anchors()))
        watch = DueWatch(lambda: self.decide(preparing=True), self._stop)
        try:
            with self.resident.checked(watch.look):
                self._updater.anchors().make_part()
        except UpdateDue as due:
            self._due = due.decision
        return True

    def decide(self, *, ordered: bool = False, preparing: bool = False) -> Decision:
        """Look at the store once, take orders, report the learner's state, and decide."""
        if orders_wait(self.db):
            self._take_orders()
        last = runs(self.db, GIVE_UP_AFTER)
        situation = self._situation(last, ordered=self._ordered or ordered)
        chosen = decision(situation, self.settings.trigger, datetime.now(UTC))
        if situation.ordered and not situation.candidate_waits:
            self._ordered = False  # obeyed, or there is nothing to learn from
        if situation.candidate_waits and last and not situation.paused:
            report_progress(self._heartbeat, last[0], "swap")  # an update is not over before its version is served
        elif preparing and not situation.paused:
            self._heartbeat.report(preparing_report(self._updater.anchors(), chosen.next_at))
        else:
            next_at = chosen.next_at.isoformat() if chosen.next_at else None
            self._heartbeat.report(LearnerReport("paused" if situation.paused else "idle", next_at=next_at))
        return chosen

    def _take_orders(self) -> None:
        with prompt_transaction(self.db):
            for kind in take_orders(self.db):
                self._ordered = self._ordered or kind == "update"
                if kind in ("pause", "resume"):
                    set_paused(self.db, kind == "pause")

    def _situation(self, last: list[Run], *, ordered: bool) -> Situation:
        live, status = live_version(self.db), learner_status(self.db)
        waiting, first_at, _ = count_to_learn(self.db, max(live.watermark, status.attempted_seq))
        return Situation(
            waiting=waiting,
            first_at=_time_of(first_at) if waiting else None,
            unlearned=count_to_learn(self.db, live.watermark)[0] if ordered else waiting,
            paused=status.paused,
            ordered=ordered,
            candidate_waits=passed_candidate(self.db) is not None,
            retry_due=_retry_is_due(self.db, last, live.number),
            not_before=not_before(last),
        )

    def _why_none(self) -> str:
        """Return why no update was made though one was ordered: see `decision`."""
        candidate = passed_candidate(self.db)
        if candidate is not None:
            waits = f"version {candidate.number} passed its gate and waits to be served"
            return f"no update: {waits}, and the next update starts from what is live then"
        live = live_version(self.db).number
        return f"no update: nothing waits to be learned from that version {live} has not learned from"

    def take_up(self) -> bool:
        """Do a run again that a crash interrupted; return whether there was one that could be done.

        It cannot if the version that it started from is not live any more, or if it seems to kill the process.
        """
        run = unfinished_run(self.db)
        if run is None:
            return False
        if run.parent != live_version(self.db).number:
            gone = f"version {run.parent}, from which it started, is not live any more"
            self._fail(run, f"it was interrupted, and {gone}", give_up=False)
            return False
        if run.attempt >= MOST_ATTEMPTS:
            self._fail(run, f"the learner ended {run.attempt} times in the middle of it", give_up=True)
            return False
        with prompt_transaction(self.db):
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
        settings = with_anchors_at_hand(settings, self._updater.anchors())
        beside = extra | self._rewards.start_of_run()
        kept = _recorded(settings) | {"tune_layers": self.resident.tuned_layers} | beside
        with prompt_transaction(self.db):
            items = count_to_learn(self.db, live.watermark)[0]
            run = Run(
                id=new_id("run-"),
                algorithm=settings.algorithm,
                state="running",
                settings=kept,
                seed=seed_of(settings.seed, self.db.table("runs").count, live.number, upto_seq),
                parent=live.number,
                items=items,
                after_seq=live.watermark,
                upto_seq=upto_seq,
                started_at=now(),
            )
            add_run(self.db, run)
        log.info("%s: starts on version %d with %d feedback rows (%s)", run.id, run.parent, items, chosen.start)
        self._make(run)

    def _make(self, run: Run) -> None:
        """Carry out a run that is on record, and record how it ended."""
        self.failure = ""
        try:
            settings = _settings_of(run, self.settings)
        except BadSetting as error:  # another release planned it
            return self._fail(run, f"its settings are refused now: {_one_line(error)}", give_up=False)
        run = self._under_todays_names(run, settings)
        with RunRecorder(self.db, self._heartbeat, run, self.settings.data / "logs" / "runs") as recorder:
            left_out: dict[str, Any] = {}
            try:
                material = self._material(run)
                left_out = material.metrics
                result = self._update(run, material, settings, recorder)
                result = replace(result, metrics=result.metrics | left_out)
                recorder.finish(result.trained.steps, result.metrics)
                self._publish(run, settings, result)
            except Interrupted:
                log.info("%s: left unfinished; it begins again with the next start", run.id)
            except NothingToLearn as error:
                with prompt_transaction(self.db):
                    finish_run(self.db, run.id, None, {"nothing": str(error)} | left_out)
                    set_attempted(self.db, run.upto_seq)
                log.info("%s: %s", run.id, error)
            except Exception as error:  # whatever it is, people are served on
                log.exception("%s failed", run.id)
                recorder.write()
                failures = failures_in_a_row(runs(self.db, GIVE_UP_AFTER)) + 1
                self._fail(run, _one_line(error), give_up=isinstance(error, Diverged) or failures >= GIVE_UP_AFTER)

    def _under_todays_names(self, run: Run, settings: LearnerSettings) -> Run:
        """Return a run that an earlier release planned with the settings that it has now, on record too."""
        if not RENAMED.keys() & run.settings.keys():
            return run
        if lost := not_followed(run.settings):
            log.warning("%s: an earlier release planned it with %s, which is no setting now", run.id, ", ".join(lost))
        beside = {name: value for name, value in run.settings.items() if name in BESIDE_SETTINGS}
        run = replace(run, settings=_recorded(settings) | beside)
        with prompt_transaction(self.db):
            set_run_settings(self.db, run.id, run.settings)
        return run

    def _material(self, run: Run) -> Material:
        material = material_of(
            self.db,
            FeedbackRange.of_run(run),
            render_with(self.resident.tokenizer),
            max_tokens=self.resident.context_length,
            vocab_size=self.resident.vocab_size,
            thoughts=self.resident.thoughts,
        )
        for feedback_id, reason in material.left_out.items():
            log.warning("%s: the feedback %s is left out: %s", run.id, feedback_id, reason)
        return material

    def _update(self, run: Run, material: Material, settings: LearnerSettings, recorder: RunRecorder) -> UpdateResult:
        def phase(name: str, step: int, steps: int, loss: float | None, metrics: dict[str, float]) -> None:
            self._end_if_stopped()
            recorder.phase(name, step, steps, loss, metrics)

        begin = run.settings.get(REWARDS_FROM)
        with self.resident.checked(self._end_if_stopped):
            return self._updater.update(material, settings, phase, parent=run.parent, seed=run.seed, rewards_from=begin)

    def _end_if_stopped(self) -> None:
        if self._stop.is_set():
            raise Interrupted

    def _publish(self, run: Run, settings: LearnerSettings, result: UpdateResult) -> None:
        with prompt_transaction(self.db):
            set_trust(self.db, result.trust)
        version = publish(
            self.db,
            settings.data,
            self.resident,
            run,
            feedback_ids=result.feedback_ids,
            metrics=result.metrics | {"curve": result.trained.curve},
            report=result.report,
        )
        result.optimizer.write(optimizer_state_path(settings.data, version.number), version.digest)
        if result.rewards is not None:
            self._rewards.keep(result.rewards)
        verdict = "passed" if version.passed else "; ".join(result.report["reasons"])
        log.info("%s: version %d, %s", run.id, version.number, verdict)

    def _fail(self, run: Run, reason: str, *, give_up: bool) -> None:
        self.failure = reason
        with prompt_transaction(self.db):
            fail_run(self.db, run.id, reason)
            if give_up:
                set_attempted(self.db, run.upto_seq)
        log.warning("%s failed: %s", run.id, reason)

    def _detail(self) -> dict[str, Any]:
        """Return what people see of the learner's setup."""
        settings, trigger = self.settings, self.settings.trigger
        return {
            "trigger": {"items": trigger.feedback, "seconds": trigger.seconds, "min_items": trigger.min_feedback},
            "algorithm": settings.algorithm,
            "tuning": settings.tuning,
            "tune_layers": self.resident.tuned_layers,
            "model": settings.model,
            "device": str(self.resident.device),
            "parameters": self.resident.num_parameters,
            "reward_model": learner_status(self.db).detail.get("reward_model"),
        }


def _recorded(settings: LearnerSettings) -> dict[str, Any]:
    """Return what a run's row keeps of the settings; the model and the device are for people to read."""
    return settings.model_dump(mode="json", exclude={"data", "nice", "threads"})


def _settings_of(run: Run, settings: LearnerSettings) -> LearnerSettings:
    """Return the settings that a run was planned with, on this process's data, model and device."""
    kept = settings_of_run({name: value for name, value in run.settings.items() if name not in BESIDE_SETTINGS})
    return load_settings({**kept, **{name: getattr(settings, name) for name in NOT_KEPT}})


def _retry_is_due(db: Database, last: list[Run], live: int) -> bool:
    """Whether the gate rejected the newest run's version, which started from live, and this was no retry itself."""
    number = last[0].version if may_retry(last, live) else None
    return number is not None and get_version(db, number).state == "rejected"


def _time_of(text: str | None) -> datetime:
    """Return a time of the store; one that cannot be read counts as long ago, so that its feedback does not wait."""
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _one_line(error: Exception) -> str:
    return json.dumps(first_line(error), ensure_ascii=False)[1:-1][:500]
