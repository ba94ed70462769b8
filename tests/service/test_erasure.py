"""Erasing a person, proved by a search for their words and their id through every byte of the data folder."""

import json
import sqlite3
from pathlib import Path

import pytest

from service import traffic
from service.erased_files import remove_learned
from store.database import transaction
from store.erasure import Erased
from store.ids import now
from store.learner import set_detail
from store.runs import Run, add_run, finish_run
from store.scrubbing import without_person
from tests.service.running import Running

EMAIL, PHRASE = "ann.smith@example.com", "zebrafinch orchestra"
ANN = {"X-Attune-Rater": EMAIL}
BOB = {"X-Attune-Rater": "bob@example.com"}


def found_in(folder: Path, needle: str) -> list[str]:
    """Return the files that hold a text, as it is or as JSON escapes it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path.relative_to(folder)) for path in files if needle.encode() in path.read_bytes()]


def rate(served: Running, headers: dict[str, str], text: str) -> str:
    """Ask, correct the answer, rate it, and take a second answer's correction back; return the feedback's id."""
    for number in range(2):
        chat = {"model": "attune", "messages": [{"role": "user", "content": f"say: {text} {number}"}]}
        answer = served.http.post("/v1/chat/completions", json=chat, headers=headers).json()["id"]
        body = {"completion_id": answer, "correction": f"{text}!", "comment": text, "metadata": {"page": text}}
        given = served.http.post("/v1/feedback", json=body, headers=headers).json()["id"]
        if number:
            served.http.delete(f"/v1/feedback/{given}", headers=headers)
    return str(given)


def test_no_byte_of_an_erased_person_is_left(served: Running) -> None:
    for number in range(30):  # enough that pages of the database split, and leave copies
        rate(served, {"X-Attune-Rater": f"{number}@example.com"}, f"something else {number}")
        given = rate(served, ANN, f"{PHRASE} {number}")
    bobs = rate(served, BOB, "hello")
    shares = {"raters": {EMAIL: {"share": 0.1, "trust": 0.5}, "bob@example.com": {"share": 0.9, "trust": 0.9}}}
    settings = {"trust": {"gold_raters": f"bob@example.com, {EMAIL}"}, "steps": 2}
    clean = served.add_candidate(folder="versions/000001")
    tainted = served.add_candidate(parent=clean, folder="versions/000002")
    for number in (clean, tainted):
        folder = served.data / "versions" / f"{number:06d}"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps({"version": number, "settings": settings}, indent=1))
    with served.db() as db, transaction(db):
        for number, feedback_id in ((clean, bobs), (tainted, given)):
            db.table("feedback_of_version").insert({"version": number, "feedback_id": feedback_id})
            add_run(db, Run(f"r{number}", "mixed", "running", settings, 0, 0, 1, 0, 1, now(), error=f"by {EMAIL}"))
            finish_run(db, f"r{number}", number, {**shares, "waited": 1})
        set_detail(db, settings)
    served.wait_for_state(tainted, "live")
    served.http.post(f"/v1/versions/{clean}/promote", headers=ANN).raise_for_status()
    served.http.delete(f"/v1/feedback/{bobs}", headers=ANN).raise_for_status()
    served.http.post("/v1/raters/bob@example.com/quarantine", json={"reason": f"said {EMAIL}, twice"})
    assert found_in(served.data, PHRASE)
    assert len(found_in(served.data, EMAIL)) >= 3

    report = served.http.delete(f"/v1/raters/{EMAIL}").json()
    assert report["feedback"] == 60
    assert report["versions"] == [tainted]
    assert report["rewritten"] is True
    for needle in (EMAIL, "ann.smith", PHRASE, "zebrafinch"):
        assert found_in(served.data, needle) == []
    assert found_in(served.data, "something else 7")
    with served.db() as db:
        run = next(iter(db.query("SELECT settings, metrics FROM runs WHERE id = ?", [f"r{clean}"])))
        reasons = [row["reason"] for row in db.query("SELECT reason FROM traffic")]
    assert json.loads(run["settings"]) == {"trust": {"gold_raters": "bob@example.com"}, "steps": 2}
    assert json.loads(run["metrics"])["raters"] == {"bob@example.com": {"share": 0.9, "trust": 0.9}}
    assert "promoted by somebody" in reasons
    manifest = json.loads((served.data / "versions" / "000001" / "manifest.json").read_text())
    assert manifest == {"version": 1, "settings": {"trust": {"gold_raters": "bob@example.com"}, "steps": 2}}
    assert not (served.data / "versions" / "000002").exists()


def test_a_database_that_cannot_be_written_anew_is_reported(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path) -> bool:
        raise sqlite3.OperationalError("database or disk is full")

    rate(served, ANN, PHRASE)
    monkeypatch.setattr(traffic, "rewrite", full)
    report = served.http.delete(f"/v1/raters/{EMAIL}")
    assert (report.status_code, report.json()["rewritten"], report.json()["feedback"]) == (200, False, 2)


def test_reward_models_and_optimizer_states_that_learned_from_the_person_go(tmp_path: Path) -> None:
    for number, about in enumerate(({"upto_seq": 4}, {"upto_seq": 5}, {}, {"upto_seq": 0}, None), 1):
        folder = tmp_path / "rewards" / f"{number:06d}"
        folder.mkdir(parents=True)
        if about is not None:
            (folder / "reward.json").write_text(json.dumps(about))
    state = tmp_path / "cache" / "moments" / "000003.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"x")
    remove_learned(tmp_path, Erased("ann", 0, 3, 1, [], None))
    assert len(list((tmp_path / "rewards").iterdir())) == 5  # nothing was learned from a person without feedback
    remove_learned(tmp_path, Erased("ann", 2, 3, 1, [], 5))
    assert sorted(path.name for path in (tmp_path / "rewards").iterdir()) == ["000001", "000004"]
    assert not state.exists()


@pytest.mark.parametrize(
    ("text", "rater", "left"),
    [
        ('{"raters": {"ann": {"trust": 1}, "bob": {}}, "ann": 1}', "ann", '{"raters": {"bob": {}}}'),
        ('{"gold_raters": "bob, ann", "left": ["ann", "anna"]}', "ann", '{"gold_raters": "bob", "left": ["anna"]}'),
        ('{"loss": 0.5, "text": "the loss of ann"}', "loss", '{"text": "the loss of ann"}'),
        ('{"reason": "promoted by ann"}', "ann", '{"reason": "promoted by somebody"}'),
        ("rolled back by a@b.c", "a@b.c", "rolled back by somebody"),
        ("said a@b.c, twice, to xa@b.c and a@b.cc", "a@b.c", "said somebody, twice, to xa@b.c and a@b.cc"),
        ("planned", "ann", "planned"),
        ('{"raters": {"J\\u00fcrgen": 1}}', "Jürgen", '{"raters": {}}'),
    ],
)
def test_an_id_goes_from_records_and_sentences_and_the_rest_stays(text: str, rater: str, left: str) -> None:
    assert without_person(text, rater) == left
