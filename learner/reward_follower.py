"""Keeps the reward model up to date between updates: it learns every new piece of feedback when nothing else is due."""

import logging
import shutil
import time
from typing import Any

from sqlite_utils import Database

from learner.data.datasets import render_with
from learner.data.material import FeedbackRange, material_of
from learner.model.resident import Resident
from learner.priority import prompt_transaction
from learner.reward_model.model import RewardModel
from learner.run_history import REWARDS_FROM
from learner.settings import LearnerSettings
from learner.update import Updater
from policy.errors import CannotWrite
from policy.reward_folders import next_reward_folder, remove_old_rewards, reward_folder, reward_numbers
from store.feedback import count_to_learn, is_all_there
from store.learner import learner_status, set_detail

log = logging.getLogger(__name__)
LOOK_S = 1.0  # seconds between two looks at the store
SHARE = 0.05  # of a core's time: after a fit the next one waits for the rest


class RewardFollower:
    """Fits the heads to new feedback, keeps them in the data folder, and reports how good they are."""

    def __init__(self, db: Database, settings: LearnerSettings, resident: Resident, updater: Updater) -> None:
        self._db, self._settings, self._resident, self._updater = db, settings, resident, updater
        self._learned_seq = -1
        """The seq of the newest feedback that a fit was made with; -1 before any, so that the first look makes one."""
        self._written: int | None = None
        """The number of the reward model that this process wrote last."""
        self._not_before = 0.0

    def start_of_run(self) -> dict[str, int]:
        """Return what a run records of the reward model that it begins from: its number, or nothing."""
        number = self._newest()
        return {} if number is None else {REWARDS_FROM: number}

    def follow(self) -> None:
        """Learn from feedback that is new since the last fit, where there is some and it is time.

        Whatever goes wrong is logged: updates and answers do not depend on it.
        """
        if time.monotonic() < self._not_before:
            return
        self._not_before = time.monotonic() + LOOK_S
        try:
            self._follow()
        except Exception:
            log.exception("the reward model could not follow the feedback; it tries again with the next one")

    def _follow(self) -> None:
        newest = count_to_learn(self._db, max(self._learned_seq, 0))[2]
        if not newest or (newest == self._learned_seq and not self._is_gone()):
            return
        stock = self._updater.anchors()
        if len(stock.made) < stock.sufficient:  # the heads' frame comes from them, and the loop makes them first
            return
        started = time.monotonic()
        self._learned_seq = newest
        material = material_of(
            self._db,
            FeedbackRange.nothing_new(),
            render_with(self._resident.tokenizer),
            max_tokens=self._resident.context_length,
            vocab_size=self._resident.vocab_size,
            thoughts=self._resident.thoughts,
        )
        model, _ = self._updater.reward_model(material, begin=self._newest())
        if model is None:
            self._report(None)
        elif self._write(model):
            log.info("the reward model follows feedback up to %d: %d labels", newest, model.num_labels)
        spent = time.monotonic() - started
        self._not_before = time.monotonic() + max(LOOK_S, spent / SHARE)

    def keep(self, model: RewardModel) -> None:
        """Keep the reward model of a run; the next look learns what the run held out."""
        self._learned_seq = -1
        try:
            self._write(model)
        except CannotWrite as error:  # the run's version is published; the heads are fitted again
            log.warning("the reward model of the run is not kept: %s", error)

    def _write(self, model: RewardModel) -> bool:
        """Write a reward model and report on it; return False where a person it learned from was erased meanwhile.

        Who erases a person deletes the rows first and the folders after. So either the rows are gone here, or that
        deletion comes after this and takes the folder along.
        """
        settings = self._settings
        folder = next_reward_folder(settings.data)
        model.write(folder, settings.model_dump(mode="json", exclude={"data"}), base_model=settings.model)
        with prompt_transaction(self._db):
            is_complete = is_all_there(self._db, model.feedback_ids)
        if is_complete:
            self._written = int(folder.name)
            self._report(described(model, self._written))
        else:
            shutil.rmtree(folder, ignore_errors=True)
            self._updater.rewards.features.path.unlink(missing_ok=True)
        remove_old_rewards(settings.data)
        return is_complete

    def _newest(self) -> int | None:
        numbers = reward_numbers(self._settings.data, "learner")
        return numbers[-1] if numbers else None

    def _is_gone(self) -> bool:
        """Whether the last one was removed: it had learned from somebody who was erased."""
        return self._written is not None and not reward_folder(self._settings.data, self._written).exists()

    def _report(self, described: dict[str, Any] | None) -> None:
        self._written = self._written if described is not None else None
        with prompt_transaction(self._db):
            set_detail(self._db, learner_status(self._db).detail | {"reward_model": described})


def described(model: RewardModel, number: int) -> dict[str, Any]:
    """Return what people see of a reward model: its number, its labels, and how well it predicted new ones."""
    return {"number": number, "labels": model.num_labels, **model.predictions.as_json()}
