"""A data folder of every released schema opens, keeps all that it had, serves, and is learned from."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from learner.data.material import FeedbackRange, material_of
from store.api_keys import keys, make_key
from store.comparisons import get_comparison
from store.completions import get_completion
from store.conversations import conversations
from store.database import FILE_NAME, open_store, open_to_read, schema_of, transaction
from store.erasure import erase_rater
from store.events import events_after
from store.feedback import count_to_learn, feedback_to_learn, list_feedback
from store.learner import learner_status
from store.outcomes import last_feedback_seq
from store.raters import get_rater
from store.runs import get_run
from store.traffic import current_traffic
from store.versions import feedback_of_version, get_version
from tests.service.running import running
from tests.store.write_released import NAMES, RELEASED


@pytest.fixture(params=NAMES)
def released(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A data folder as a release wrote it."""
    file = RELEASED / f"{request.param}.sql"
    assert file.exists(), f"{file.name} is missing: run `python -m tests.store.write_released`"
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    with contextlib.closing(sqlite3.connect(folder / FILE_NAME)) as db:
        db.executescript(file.read_text())
    with contextlib.closing(open_to_read(folder)) as db:
        assert schema_of(db) == request.param
    return folder


def everything(db: Database) -> dict[str, Any]:
    """Return what the readers of the store give of the rows that every fixture has."""
    local, elsewhere = get_completion(db, "c1"), get_completion(db, "c3")
    return {
        "feedback": [(row.id, row.kind, row.value, row.text, row.retracted_at is None) for row in list_feedback(db)],
        "learned": [row.id for row in feedback_to_learn(db, 0)],
        "waiting": count_to_learn(db, 0)[0],
        "ids": [(one.prompt_ids, one.completion_ids, one.logps) for one in (local, elsewhere)],
        "comparison": get_comparison(db, "q1").b_completion_id,
        "conversations": [talk.title for talk in conversations(db, "ann")],
        "trust": get_rater(db, "ann").trust,
        "quarantine": get_rater(db, "eve").quarantine_reason,
        "keys": [(key.id, key.revoked_at is None) for key in keys(db)],
        "version": (get_version(db, 1).state, get_version(db, 1).gate, feedback_of_version(db, 1)),
        "run": (get_run(db, "r1").settings, get_run(db, "r1").metrics),
        "traffic": current_traffic(db).live,
        "attempted": learner_status(db).attempted_seq,
        "events": [event.data["feedback_id"] for event in events_after(db, 0)],
    }


WHOLE = {
    "feedback": [
        ("f5", "thumb", 1.0, None, True),
        ("f4", "thumb", 0.0, None, False),
        ("f3", "choice", None, None, True),
        ("f2", "correction", None, "hello", True),
        ("f1", "thumb", 1.0, None, True),
    ],
    "learned": ["f1", "f2", "f3"],
    "waiting": 3,
    "ids": [([1, 5, 9], [7, 2], [-0.25, -1.5]), ([], [], [])],
    "comparison": "c2",
    "conversations": ["你好"],
    "trust": 0.8,
    "quarantine": "spam",
    "keys": [("k1", False)],
    "version": ("rejected", {"passed": False, "reasons": ["worse"]}, ["f1"]),
    "run": ({"steps": 2}, {"raters": {"ann": {"share": 1.0}}}),
    "traffic": 0,
    "attempted": 2,
    "events": ["f1"],
}


def test_a_folder_of_every_schema_opens_with_all_that_it_had(released: Path) -> None:
    with contextlib.closing(open_store(released)) as db:
        assert schema_of(db) == NAMES[-1]
        assert everything(db) == WHOLE
        material = material_of(
            db, FeedbackRange(0, last_feedback_seq(db)), lambda messages, text: ([1, 5, 9], [9, 2]), max_tokens=64
        )
        assert len(material.new) == 3
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    with contextlib.closing(open_store(released)) as db:
        assert everything(db) == WHOLE
        with transaction(db):
            assert erase_rater(db, "ann").feedback == 5


def test_a_folder_of_every_schema_is_served_and_takes_feedback(released: Path) -> None:
    with running(released) as served:
        with served.db() as db, transaction(db):
            _, secret = make_key(db, "ann again", ("chat", "feedback", "admin", "act-as"))
        served.http.headers["Authorization"] = f"Bearer {secret}"
        shown = served.http.get("/v1/conversations/talk").json()
        assert [row["content"] for row in shown["completions"]] == ["hey", "ho", "elsewhere"]
        body = {"completion_id": "c1", "thumb": "down"}
        given = served.http.post("/v1/feedback", json=body, headers={"X-Attune-Rater": "ann"})
        assert given.status_code == 201
        assert served.http.get("/v1/version").json()["schema"] == NAMES[-1]
        assert len(served.http.get("/v1/export?format=raw").text.splitlines()) == 6
        assert served.chat("say: hi")["model"] == "attune@0"
