"""A data folder with a tiny model's completions and feedback on them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from learner.data.datasets import render_with
from learner.data.material import FeedbackRange, Material, material_of
from learner.model.resident import Resident
from store.completions import Completion, add_completions
from store.database import open_store, transaction
from store.feedback import Feedback, add_feedback
from store.ids import new_id, now
from store.raters import ensure_rater
from store.runs import Run
from store.versions import ensure_base_version

END = 2  # the tiny tokenizer's end of turn


@dataclass
class World:
    """One data folder. Completions are given as token ids. Nothing is sampled, so tests are quick and repeatable."""

    folder: Path
    base_digest: str = "base"
    db: Database = field(init=False)

    def __post_init__(self) -> None:
        self.db = open_store(self.folder)
        with transaction(self.db):
            ensure_base_version(self.db, self.base_digest)

    def completion(
        self,
        prompt_ids: tuple[int, ...],
        ids: tuple[int, ...],
        *,
        version: int | None = 0,
        rater: str = "ann",
        logps: list[float] | None = None,
        finish: str = "stop",
    ) -> Completion:
        """Record one completion."""
        completion = Completion(
            new_id("chatcmpl-"),
            0,
            rater,
            "chat",
            "attune",
            "local",
            version,
            [{"role": "user", "content": "hello"}],
            list(prompt_ids),
            list(ids),
            logps if logps is not None else [-1.0] * len(ids),
            "text",
            finish,
            now(),
        )
        with transaction(self.db):
            ensure_rater(self.db, rater)
            add_completions(self.db, [completion])
        return completion

    def feedback(self, kind: str, completion: Completion, rater: str = "ann", **fields: Any) -> Feedback:
        """Record feedback on a completion."""
        with transaction(self.db):
            ensure_rater(self.db, rater)
            row = Feedback(new_id(), kind, rater, completion.id, completion.choice, now(), "digest", **fields)
            return add_feedback(self.db, row)[0]

    def thumb(self, completion: Completion, up: bool, rater: str = "ann") -> Feedback:
        """Record a thumb."""
        return self.feedback("thumb", completion, rater, value=float(up))

    def choice(self, a: Completion, b: Completion, winner: str, rater: str = "ann") -> Feedback:
        """Record a choice between two completions."""
        return self.feedback("choice", a, rater, other_completion_id=b.id, other_choice=b.choice, winner=winner)

    def likes_short(self, count: int, *, first: int = 0, version: int | None = 0) -> list[Feedback]:
        """Record `count` choices of a short completion over a long one, each of a prompt of its own."""
        rows = []
        for number in range(first, first + count):
            prompt = (1, 4, 10 + number % 200, 11 + number // 200, 2, 5)
            short = self.completion(prompt, (50 + number % 40, END), version=version)
            long = self.completion(prompt, (60, 61 + number % 30, 62, 63, 64, 65, END), version=version)
            rows.append(self.choice(long, short, "B"))
        return rows

    def material(self, resident: Resident, run: Run) -> Material:
        """Return what a run learns from."""
        render = render_with(resident.tokenizer)
        return material_of(
            self.db,
            FeedbackRange.of_run(run),
            render,
            max_tokens=resident.context_length,
            vocab_size=resident.vocab_size,
            thoughts=resident.thoughts,
        )
