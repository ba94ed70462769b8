"""Opening, migrating, refusing, and committing in groups."""

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlite_utils import Database

from store.blobs import pack_ids, pack_logps
from store.completions import Completion, get_completion
from store.database import FILE_NAME, connect, open_store, transaction
from store.errors import DataFolderUnwritable, IdempotencyConflict, NewerSchema, StoreCorrupt, WriterClosed
from store.feedback import Feedback, add_feedback, count_feedback, feedback_to_learn
from store.ids import new_id
from store.migrations import migrations
from store.raters import ensure_rater, raters
from store.writer import Writer


def test_opening_twice_changes_nothing(folder: Path, db: Database) -> None:
    before = db.schema
    assert open_store(folder).schema == before
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL: an fsync at each commit
    assert db.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_a_database_of_a_newer_attune_is_refused_and_left_alone(folder: Path, db: Database) -> None:
    db.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
        "VALUES ('attune', 'm999_from_the_future', '2030')"
    )
    db.conn.commit()
    with pytest.raises(NewerSchema, match="m999_from_the_future"):
        open_store(folder)


def test_a_database_of_the_first_tables_opens_with_its_completions(folder: Path) -> None:
    folder.mkdir()
    old = Database(folder / FILE_NAME)
    migrations.apply(old, stop_before="m002_completion_ids")
    old.conn.execute("INSERT INTO raters (id, created_at) VALUES ('ann', '2026')")
    sampled = (pack_ids([1, 5]), pack_ids([7, 2]), pack_logps([-0.25, -1.5]))
    old.conn.execute(
        "INSERT INTO completions (id, choice, rater_id, kind, asked_model, backend, messages, "
        "prompt_ids, reply_ids, logps, text, settings, finish_reason, propensity, created_at) "
        "VALUES ('x', 0, 'ann', 'chat', 'attune', 'local', '[]', ?, ?, ?, 'hey', '{}', 'stop', 1.0, '2026')",
        sampled,
    )
    old.conn.commit()
    old.close()
    with contextlib.closing(open_store(folder)) as opened:
        kept = get_completion(opened, "x")
        assert (kept.prompt_ids, kept.completion_ids, kept.logps) == ([1, 5], [7, 2], [-0.25, -1.5])
        assert feedback_to_learn(opened, 0) == []


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreCorrupt, match="move it away"):
        open_store(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes().startswith(b"not a database")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataFolderUnwritable, match="--data"):
        open_store(tmp_path / "file")


def test_a_transaction_is_all_or_nothing(db: Database) -> None:
    with pytest.raises(sqlite3.IntegrityError), transaction(db):
        ensure_rater(db, "carl")
        db.execute("INSERT INTO conversations VALUES ('c', 'nobody', '', '', '', NULL)")
    assert "carl" not in [rater.id for rater in raters(db)]


def test_the_writer_commits_what_holds_and_each_caller_gets_its_own_error(
    folder: Path, db: Database, make_completion: Callable[..., Completion], make_feedback: Callable[..., Feedback]
) -> None:
    completion = make_completion()
    db.conn.commit()
    writer = Writer(folder)
    gate = threading.Event()
    writer.submit(lambda _: gate.wait(5))  # so that the next three share one commit
    good = writer.submit(lambda db: add_feedback(db, make_feedback(completion, idempotency_key="k")))
    bad = writer.submit(lambda db: add_feedback(db, make_feedback(completion, value=0.0, idempotency_key="k")))
    also_good = writer.submit(lambda db: add_feedback(db, make_feedback(completion, idempotency_key="other")))
    gate.set()
    assert good.result(5)[1] is False
    assert also_good.result(5)[1] is False
    with pytest.raises(IdempotencyConflict):
        bad.result(5)
    assert count_feedback(connect(folder)) == 2
    writer.close()
    with pytest.raises(WriterClosed):
        writer.submit(lambda _: None)


def test_no_write_is_reported_as_done_when_the_commit_fails(folder: Path, db: Database) -> None:
    writer = Writer(folder)

    def orphan(db: Database) -> None:
        db.execute("PRAGMA defer_foreign_keys = ON")  # then the commit fails, and no statement before it
        db.execute("INSERT INTO conversations VALUES ('c', 'nobody', '', '', '', NULL)")

    future = writer.submit(orphan)
    with pytest.raises(sqlite3.IntegrityError):
        future.result(5)
    assert writer.submit(lambda db: ensure_rater(db, "later")).result(5) is None
    assert "later" in [rater.id for rater in raters(connect(folder))]
    assert connect(folder).execute("SELECT count(*) FROM conversations").fetchone() == (1,)
    writer.close()


def test_a_transaction_that_cannot_begin_fails_every_write_of_its_batch(folder: Path, db: Database) -> None:
    """A caller that waits for a write which nobody will do waits for ever."""
    writer = Writer(folder)
    gate = threading.Event()
    first = writer.submit(lambda db: (gate.wait(5), db.execute("PRAGMA query_only = ON")))
    waiting = [writer.submit(lambda db, number=number: ensure_rater(db, f"r{number}")) for number in range(3)]
    cancelled = writer.submit(lambda db: None)
    assert cancelled.cancel()
    gate.set()
    first.result(5)
    for future in waiting:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            future.result(5)
    writer.submit(lambda db: None)  # the thread goes on, and refuses again
    writer.close()
    assert "r0" not in [rater.id for rater in raters(connect(folder))]


def test_closing_writes_what_is_queued(folder: Path, db: Database) -> None:
    writer = Writer(folder)
    for number in range(300):
        writer.submit(lambda db, number=number: ensure_rater(db, f"r{number}"))
    writer.close()
    assert len(raters(connect(folder))) == 302


def test_ids_sort_by_age_and_differ() -> None:
    ids = [new_id("x-") for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert [identifier[:12] for identifier in ids] == sorted(identifier[:12] for identifier in ids)
