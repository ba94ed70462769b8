"""A store in a temporary folder with a base version and raters, and builders of completions and feedback."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from store.completions import Completion, add_completions
from store.conversations import ensure_conversation
from store.database import open_store, transaction
from store.feedback import Feedback
from store.ids import new_id, now
from store.raters import ensure_rater
from store.versions import ensure_base_version


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def db(folder: Path) -> Iterator[Database]:
    opened = open_store(folder)
    with transaction(opened):
        ensure_base_version(opened, "base-digest")
        ensure_rater(opened, "ann")
        ensure_rater(opened, "bob")
        ensure_conversation(opened, "talk", "ann", "Hello!")
    yield opened
    opened.close()


@pytest.fixture
def make_completion(db: Database) -> Callable[..., Completion]:
    """Adds one completion to the store and returns it."""

    def add(
        completion_id: str = "",
        *,
        choice: int = 0,
        version: int | None = 0,
        prompt_ids: tuple[int, ...] = (1, 5, 9),
        asked_model: str = "attune",
    ) -> Completion:
        completion = Completion(
            completion_id or new_id("chatcmpl-"),
            choice,
            "ann",
            "chat",
            asked_model,
            "local",
            version,
            [{"role": "user", "content": "你好"}],
            list(prompt_ids),
            *(([7, 2], [-0.25, -1.5]) if version is not None else ([], [])),
            "hey",
            "stop",
            now(),
            "talk",
            {"temperature": 1.0},
        )
        add_completions(db, [completion])
        return completion

    return add


@pytest.fixture
def make_feedback() -> Callable[..., Feedback]:
    """Builds one feedback, by default a thumb up by ann."""

    def build(completion: Completion, kind: str = "thumb", rater: str = "ann", **fields: object) -> Feedback:
        if kind == "thumb":
            fields.setdefault("value", 1.0)
        return Feedback(
            new_id(), kind, rater, completion.id, completion.choice, now(), str(sorted(fields.items())), **fields
        )  # type: ignore[arg-type]

    return build
