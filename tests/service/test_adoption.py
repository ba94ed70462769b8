"""Another base model takes over conversations and feedback as text; ids and raters stay, and it learns from them."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database
from typer import Typer
from typer.testing import CliRunner, Result

from learner.data.material import FeedbackRange, Material, material_of
from policy.chat import load_tokenizer, render_completion
from policy.served_model import served_model
from service.adoption import Adopted, adopt
from service.commands import register
from store.api_keys import find_key, make_key
from store.completions import get_completion
from store.database import open_store, transaction
from store.feedback import count_to_learn, feedback_to_learn, get_feedback
from store.folder_lock import lock_folder
from store.outcomes import last_feedback_seq
from store.raters import raters, set_quarantine
from store.versions import ensure_base_version, versions
from tests.service.running import Running

ADOPTED = {"raters": 4, "api_keys": 1, "conversations": 4, "completions": 8, "comparisons": 1, "feedback": 6}


def attune(*arguments: object) -> Result:
    app = Typer()
    register(app)
    return CliRunner().invoke(app, ["adopt", *map(str, arguments)])


@pytest.fixture
def old(served: Running) -> Running:
    """A service with chats, each kind of feedback, a cut answer, a key and a person in quarantine."""
    ann, bob = {"X-Attune-Rater": "ann@example.com"}, {"X-Attune-Rater": "bob"}

    def rate(completion_id: str, headers: dict[str, str] | None = None, **body: Any) -> str:
        sent = {"completion_id": completion_id, **body}
        return str(served.http.post("/v1/feedback", json=sent, headers=headers or {}).json()["id"])

    def ask(text: str, headers: dict[str, str], **body: Any) -> dict[str, Any]:
        chat = {"model": "attune", "messages": [{"role": "user", "content": text}], **body}
        made: dict[str, Any] = served.http.post("/v1/chat/completions", json=chat, headers=headers).json()
        return made

    two = ask("say: hello there", ann, n=2)["id"]
    rate(two, ann, thumb="up", comment="nice")
    rate(two, ann, preferred_over={"completion_id": two, "choice": 1})
    rate(ask("say: 你好 \U0001f600", bob)["id"], bob, correction="Good day, 你好!")
    cut = ask("say: " + "word " * 40, ann, max_tokens=3)
    assert cut["choices"][0]["finish_reason"] == "length"
    taken_back = rate(cut["id"], ann, thumb="down")
    served.http.delete(f"/v1/feedback/{taken_back}", headers=ann)
    asked = served.http.post("/v1/comparisons", json={"messages": [{"role": "user", "content": "Hi"}]}).json()
    served.http.post(f"/v1/comparisons/{asked['id']}/choice", json={"winner": "B"}).raise_for_status()
    rate(ask("say: last", bob, n=2)["id"], bob, score=0.9)
    with served.db() as db, transaction(db):
        _, secret = make_key(db, "team", ("chat", "feedback"))
        set_quarantine(db, "bob", "spam")
    served.http.headers["Authorization"] = f"Bearer {secret}"
    return served


def rows(db: Database, table: str, *columns: str) -> list[tuple[Any, ...]]:
    return db.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1, 2").fetchall()


def material(db: Database) -> Material:
    tokenizer = load_tokenizer("pocket-nano")

    def render(messages: Any, text: str) -> tuple[list[int], list[int]]:
        return render_completion(tokenizer, messages, text)

    everything = FeedbackRange(0, last_feedback_seq(db))
    return material_of(db, everything, render, max_tokens=1024, vocab_size=len(tokenizer))


def test_another_model_has_people_conversations_and_feedback_and_learns_from_them(old: Running, tmp_path: Path) -> None:
    new = tmp_path / "new"
    done = attune(old.data, "--data", new, "--model", "pocket-nano")
    assert done.exit_code == 0, done.output
    assert "new has now also " in done.stdout
    with old.db() as theirs, contextlib.closing(open_store(new)) as ours:
        for table, columns in {
            "raters": ("id", "created_at", "name", "quarantined_at"),
            "conversations": ("id", "rater_id", "title", "updated_at"),
            "completions": ("id", "choice", "rater_id", "messages", "text", "conversation_id", "created_at"),
            "comparisons": ("id", "a_completion_id", "b_completion_id", "propensity"),
            "feedback": ("id", "seq", "kind", "rater_id", "value", "winner", "text", "comment", "retracted_at"),
            "api_keys": ("id", "key_hash", "rater_id", "scopes"),
        }.items():
            assert rows(ours, table, *columns) == rows(theirs, table, *columns) != []
        assert [version.number for version in versions(ours)] == [0]
        with transaction(ours):
            set_quarantine(ours, "bob", None)
        assert count_to_learn(ours, 0)[0] == 5
        learned = material(ours)
        assert len(learned.new) == 4  # a preference between two equal texts teaches nothing
        assert not learned.left_out
        tokenizer = load_tokenizer("pocket-nano")
        for row in feedback_to_learn(ours, 0):
            kept = get_completion(ours, row.completion_id, row.choice)
            prompt, completion = render_completion(tokenizer, kept.messages, kept.text)
            assert (kept.prompt_ids, kept.completion_ids, kept.logps) == (prompt, completion, [])
            assert (kept.version, kept.backend) == (None, "adopted")
    served = served_model(new)
    assert served is not None
    assert served.model == "pocket-nano"


def test_an_answer_that_was_cut_off_has_no_end_and_another_backends_has_no_tokens(old: Running, tmp_path: Path) -> None:
    with old.db() as theirs, contextlib.closing(open_store(tmp_path / "new")) as ours:
        theirs.execute("UPDATE completions SET backend = 'other', completion_ids = x'' WHERE text LIKE '%last%'")
        with transaction(ours):
            ensure_base_version(ours, "other")
        done = adopt(theirs, ours, lambda messages, text: ([1], [*text.encode(), 0]))
        assert done == Adopted(done.added)
        assert dict(done.added) == ADOPTED
        for row in ours.query("SELECT id, choice, text, finish_reason, backend FROM completions"):
            kept = get_completion(ours, row["id"], row["choice"])
            whole = [*row["text"].encode(), 0]
            if row["backend"] == "other":
                assert kept.completion_ids == []
            else:
                assert kept.completion_ids == (whole[:-1] if row["finish_reason"] == "length" else whole)


def test_what_the_template_refuses_is_kept_and_counted(old: Running, tmp_path: Path) -> None:
    def refuse(messages: Any, text: str) -> tuple[list[int], list[int]]:
        if "hello" in text:
            raise ValueError("this model's chat template refuses messages in the order: user")
        return [1], [2]

    with old.db() as theirs, contextlib.closing(open_store(tmp_path / "new")) as ours:
        with transaction(ours):
            ensure_base_version(ours, "other")
        done = adopt(theirs, ours, refuse)
        assert dict(done.refused) == {"this model's chat template refuses messages in the order: user": 2}
        assert dict(done.added) == ADOPTED


def test_a_second_time_brings_what_came_since_and_what_is_new_here_stays(old: Running, tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert attune(old.data, "--data", new, "--model", "pocket-nano").exit_code == 0
    with contextlib.closing(open_store(new)) as ours, transaction(ours):
        make_key(ours, "mine", ("chat",))
    answer = old.chat("say: since")
    given = old.http.post("/v1/feedback", json={"completion_id": answer["id"], "thumb": "up"}).json()["id"]
    again = attune(old.data, "--data", new, "--model", "pocket-nano", "--json")
    assert again.exit_code == 0, again.output
    with contextlib.closing(open_store(new)) as ours:
        assert get_feedback(ours, given).seq == ADOPTED["feedback"] + 1
        assert ours.table("feedback").count == ADOPTED["feedback"] + 1
        assert ours.table("api_keys").count == 2


def test_keys_of_before_still_work(old: Running, tmp_path: Path) -> None:
    with old.db() as db, transaction(db):
        key, secret = make_key(db, "front end", ("chat", "feedback"))
    assert attune(old.data, "--data", tmp_path / "new", "--model", "pocket-nano").exit_code == 0
    with contextlib.closing(open_store(tmp_path / "new")) as ours:
        found = find_key(ours, secret)
        assert found is not None
        assert found.rater_id == key.rater_id
        assert key.rater_id in [rater.id for rater in raters(ours)]


def refused(*arguments: object) -> str:
    """Return the one line with which the command ends."""
    done = attune(*arguments)
    assert done.exit_code == 1
    assert done.output.count("\n") == 1
    return str(done.output)


def test_what_cannot_be_adopted_is_one_line(old: Running, tmp_path: Path) -> None:
    new, to_nano = tmp_path / "new", ("--model", "pocket-nano")
    assert "no service was ever started on" in refused(tmp_path / "absent", "--data", new, *to_nano)
    assert "is the folder to adopt from" in refused(old.data, "--data", old.data, *to_nano)
    assert attune(old.data, "--data", new, *to_nano).exit_code == 0
    assert "belongs to the model pocket-nano already" in refused(new, "--data", tmp_path / "third", *to_nano)
    assert "has a base model with digest" in refused(old.data, "--data", new, "--model", "pocket")
    with lock_folder(new, "service"):
        assert "another service works on" in refused(old.data, "--data", new, *to_nano)
    assert "nothing-here" in refused(old.data, "--data", new, "--model", "nothing-here")
