"""Write the store of each schema, with a row of everything, as SQL: `python -m tests.store.write_released`.

A file that is there stays as it is: it is what that release wrote. Run it after a new migration.
"""

import json
import sqlite3
import tempfile
from pathlib import Path

from sqlite_utils import Database

from store.blobs import pack_ids, pack_logps
from store.migrations import migrations

RELEASED = Path(__file__).parent / "released"
BASE_DIGEST = "parrot"
AT = "2026-01-31T12:00:00.000000+00:00"
NAMES = [migration.name for migration in migrations._migrations]


def write(name: str) -> None:
    """Write the store of the schema whose last migration is `name`."""
    later = NAMES[NAMES.index(name) + 1 :]
    with tempfile.TemporaryDirectory() as folder:
        db = Database(sqlite3.connect(Path(folder) / "attune.db"))
        migrations.apply(db, stop_before=later[0]) if later else migrations.apply(db)
        for table, row in rows("reply_ids" if name == NAMES[0] else "completion_ids"):
            db.conn.execute(
                f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values())
            )
        db.conn.execute("UPDATE learner_status SET attempted_seq = 2, heartbeat_at = ?", [AT])
        db.conn.commit()
        (RELEASED / f"{name}.sql").write_text("\n".join(db.conn.iterdump()) + "\n")
        db.close()


def rows(completion_ids: str) -> list[tuple[str, dict[str, object]]]:
    """Return one row or more of each table; `completion_ids` is the name of that column."""
    messages = json.dumps([{"role": "user", "content": "你好"}], ensure_ascii=False)
    answer = {
        "rater_id": "ann", "kind": "chat", "asked_model": "attune", "backend": "local", "messages": messages,
        "prompt_ids": pack_ids([1, 5, 9]), completion_ids: pack_ids([7, 2]), "logps": pack_logps([-0.25, -1.5]),
        "settings": '{"temperature": 1.0}', "finish_reason": "stop", "propensity": 1.0, "created_at": AT,
        "conversation_id": "talk", "version": 0,
    }  # fmt: skip
    given = {"rater_id": "ann", "choice": 0, "metadata": "{}", "body_digest": "d", "created_at": AT}
    version = {"digest": BASE_DIGEST, "folder": "", "algorithm": "base", "metrics": "{}", "created_at": AT}
    made = {"digest": "d1", "folder": "versions/000001", "algorithm": "mixed", "metrics": "{}", "created_at": AT}
    other = {"other_completion_id": "c2", "other_choice": 0}
    return [
        ("raters", {"id": "ann", "created_at": AT, "name": "Ann", "trust": 0.8}),
        ("raters", {"id": "eve", "created_at": AT, "quarantined_at": AT, "quarantine_reason": "spam"}),
        ("api_keys", {"id": "k1", "name": "Ann", "key_hash": "h", "scopes": "chat feedback", "rater_id": "ann",
                      "created_at": AT, "revoked_at": AT}),
        ("conversations", {"id": "talk", "rater_id": "ann", "title": "你好", "created_at": AT, "updated_at": AT}),
        ("versions", {**version, "number": 0, "state": "live", "watermark": 0, "passed": 1, "live_at": AT}),
        ("versions", {**made, "number": 1, "parent": 0, "state": "rejected", "watermark": 1, "passed": 0,
                      "gate": '{"passed": false, "reasons": ["worse"]}', "run_id": "r1"}),
        ("completions", {**answer, "id": "c1", "choice": 0, "text": "hey"}),
        ("completions", {**answer, "id": "c2", "choice": 0, "text": "ho", completion_ids: pack_ids([8, 2])}),
        ("completions", {**answer, "id": "c3", "choice": 0, "text": "elsewhere", "backend": "other", "version": None,
                         "prompt_ids": b"", completion_ids: b"", "logps": b""}),
        ("comparisons", {"id": "q1", "rater_id": "ann", "conversation_id": "talk", "a_completion_id": "c1",
                         "a_choice": 0, "b_completion_id": "c2", "b_choice": 0, "reason": "different",
                         "propensity": 0.5, "created_at": AT}),
        ("feedback", {**given, "id": "f1", "kind": "thumb", "completion_id": "c1", "value": 1.0,
                      "idempotency_key": "key-1", "reason": "clear", "comment": "好"}),
        ("feedback", {**given, "id": "f2", "kind": "correction", "completion_id": "c2", "text": "hello"}),
        ("feedback", {**given, **other, "id": "f3", "kind": "choice", "completion_id": "c1", "comparison_id": "q1",
                      "winner": "A"}),
        ("feedback", {**given, "id": "f4", "kind": "thumb", "completion_id": "c2", "value": 0.0,
                      "idempotency_key": "key-4", "retracted_at": AT, "retracted_by": "ann"}),
        ("feedback", {**given, "id": "f5", "kind": "thumb", "completion_id": "c3", "value": 1.0, "rater_id": "eve"}),
        ("runs", {"id": "r1", "algorithm": "mixed", "state": "finished", "settings": '{"steps": 2}', "seed": 7,
                  "parent": 0, "version": 1, "items": 1, "after_seq": 0, "upto_seq": 1, "attempt": 1,
                  "metrics": '{"raters": {"ann": {"share": 1.0}}}', "error": "", "started_at": AT, "finished_at": AT}),
        ("feedback_of_version", {"version": 1, "feedback_id": "f1"}),
        ("traffic", {"live": 0, "share": 0.0, "reason": "base model", "created_at": AT}),
        ("events", {"kind": "feedback", "data": '{"feedback_id": "f1", "rater": "ann"}', "created_at": AT}),
        ("learner_orders", {"kind": "update", "created_at": AT, "done_at": AT}),
    ]  # fmt: skip


if __name__ == "__main__":
    RELEASED.mkdir(exist_ok=True)
    for name in NAMES:
        if not (RELEASED / f"{name}.sql").exists():
            write(name)
