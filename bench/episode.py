"""An episode of the learner without a service.

Simulated people give feedback on the live version's answers through the store. The real loop learns, and a version that
passes the gate becomes live. The learner sees only rows of feedback, as with a service.
"""

import random
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients.simulated.populations import Population, User
from clients.simulated.questions import Question, asked
from learner.loop import Loop
from learner.model.resident import Resident
from learner.publish import version_folder
from learner.settings import LearnerSettings, load_settings
from policy.chat import decode, render_prompt
from store.completions import Completion, add_completions
from store.database import transaction
from store.feedback import Feedback, add_feedback
from store.ids import new_id, now
from store.raters import ensure_rater
from store.runs import runs
from store.versions import live_version, passed_candidate, set_live

MAX_TOKENS = 96
Share = tuple[str, float]
MIX: tuple[Share, ...] = (("choice", 0.5), ("thumb", 0.35), ("correction", 0.15))


@dataclass
class Episode:
    """People, a data folder and a learner. `mix` has the kinds of feedback with their shares."""

    people: Population
    loop: Loop
    seed: int
    mix: tuple[Share, ...] = MIX
    outcomes: Counter[str] = field(default_factory=Counter)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    _asked: int = 0

    @classmethod
    def start(
        cls, folder: Path, model: str, people: Population, seed: int, mix: tuple[Share, ...] = MIX, **flags: Any
    ) -> "Episode":
        """Return a new episode on an empty data folder; `flags` are settings of the learner."""
        settings = load_settings({"data": folder, "model": model, "device": "cpu", "seed": seed, **flags})
        return cls(people, Loop(settings, threading.Event()), seed, mix)

    @property
    def resident(self) -> Resident:
        """The learner's model."""
        return self.loop.resident

    @property
    def settings(self) -> LearnerSettings:
        """The learner's settings."""
        return self.loop.settings

    def live(self) -> int:
        """Load the live version's weights into the resident model; return its number."""
        number = live_version(self.loop.db).number
        self.resident.become(version_folder(self.settings.data, number) if number else None, self.seed)
        return number

    def collect_feedback(self, count: int) -> None:
        """Collect `count` feedbacks from the people in turn, on the live version's answers to new questions."""
        number = self.live()
        questions = asked(self.seed, self._asked + count)[self._asked :]
        rng = random.Random(f"acts {self.seed} {self._asked}")
        kinds = rng.choices([kind for kind, _ in self.mix], [share for _, share in self.mix], k=count)
        users = [self.people.users[(self._asked + index) % len(self.people.users)] for index in range(count)]
        doubled = [
            question
            for question, kind in zip(questions, kinds, strict=True)
            for _ in range(2 if kind == "choice" else 1)
        ]
        completions = iter(self._answers(doubled, number, self._asked))
        with transaction(self.loop.db):
            for user, question, kind in zip(users, questions, kinds, strict=True):
                ensure_rater(self.loop.db, user.name)
                shown = [next(completions) for _ in range(2 if kind == "choice" else 1)]
                self.outcomes[self._give_feedback(user, question, kind, shown)] += 1
        self._asked += count

    def update(self) -> bool:
        """Make an update, and a more careful one if the gate rejects the first; return whether a version went live."""
        for _ in range(2):
            if not self.loop.tick(ordered=True):
                return False
            last = runs(self.loop.db, 1)[0]
            if last.state == "failed":
                if not (last.error or "").startswith("no weights after"):
                    raise RuntimeError(f"the update failed: {last.error}")
                self.verdicts.append({"run": last.algorithm, "passed": False, "stopped": last.error})
                return False  # the guards left no weights; the episode goes on
            candidate = passed_candidate(self.loop.db)
            self.verdicts.append(
                {"run": last.algorithm, "passed": candidate is not None, "stopped": last.metrics.get("stopped", "")}
            )
            if candidate is not None:
                with transaction(self.loop.db):
                    set_live(self.loop.db, candidate.number, "episode")
                return True
        return False

    def cost(self) -> dict[str, float]:
        """Return the sums over all updates: steps, tokens trained on, seconds and CPU seconds of the steps.

        Peak memory is left out: it is that of the process, which may have run other episodes.
        """
        done = [run.metrics for run in runs(self.loop.db, 1000) if run.state == "finished"]
        names = {"steps": "steps", "tokens": "tokens", "seconds": "train_seconds", "cpu_seconds": "train_cpu_seconds"}
        return {name: float(sum(metrics.get(kept, 0) for metrics in done)) for name, kept in names.items()}

    def close(self) -> None:
        """End the learner."""
        self.loop.close()

    def _answers(self, questions: Sequence[Question], number: int, seed: int) -> list[Completion]:
        tokenizer = self.resident.tokenizer
        prompts = [render_prompt(tokenizer, question.messages) for question in questions]
        rollouts = self.resident.sample(prompts, max_tokens=MAX_TOKENS, seed=1_000_003 * self.seed + seed)
        return [
            Completion(
                new_id("chatcmpl-"),
                0,
                "",
                "chat",
                "attune",
                "local",
                number,
                question.messages,
                list(rollout.prompt_ids),
                list(rollout.ids),
                list(rollout.logps),
                decode(tokenizer, rollout.ids),
                "stop" if rollout.is_finished else "length",
                now(),
            )
            for question, rollout in zip(questions, rollouts, strict=True)
        ]

    def _give_feedback(self, user: User, question: Question, kind: str, shown: Sequence[Completion]) -> str:
        """Store one person's feedback; return its kind, `tie` or `silence`."""
        add_completions(
            self.loop.db, [Completion(**{**vars(completion), "rater_id": user.name}) for completion in shown]
        )
        about: dict[str, Any] = {}
        first = shown[0]
        if kind == "choice":
            winner = user.choose(question, first.text, shown[1].text)
            about = {"other_completion_id": shown[1].id, "other_choice": 0, "winner": winner}
            kind = "tie" if winner == "tie" else kind
        elif kind == "correction" and (better := user.correction(question, first.text)) is not None:
            about = {"text": better}
        else:
            thumb = user.thumb(question, first.text)
            if thumb is None:
                return "silence"
            kind, about = "thumb", {"value": float(thumb == "up")}
        row = Feedback(new_id(), "choice" if kind == "tie" else kind, user.name, first.id, 0, now(), "episode", **about)
        add_feedback(self.loop.db, row)
        return kind
