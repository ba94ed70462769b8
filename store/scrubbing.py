"""A person's id out of records that stay: as a field's name, as a value, in a list of names, and inside a sentence."""

import json
import re
import time
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from store.database import connect

SOMEBODY = "somebody"
# Where a rater's id may stand beside their own rows, which are deleted. JSON, or one sentence.
COLUMNS = {
    "runs": ("settings", "metrics", "error"),
    "versions": ("gate", "metrics"),
    "events": ("data",),
    "traffic": ("reason",),
    "learner_status": ("progress", "detail"),
    "raters": ("quarantine_reason",),
    "feedback": ("retracted_by",),
}
CHECKPOINT_S = 10.0  # how long readers may keep the write-ahead log from being emptied


def remove_person(db: Database, rater_id: str) -> None:
    """Take a rater's id out of every record that stays. Call it in a transaction."""
    for table, columns in COLUMNS.items():
        for column in columns:
            needles = [rater_id, json.dumps(rater_id)[1:-1]]
            found = db.query(
                f"SELECT rowid AS row, {column} AS content FROM {table} "
                f"WHERE instr({column}, ?) > 0 OR instr({column}, ?) > 0",
                needles,
            )
            for row in list(found):
                content = without_person(row["content"], rater_id)
                db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", [content, row["row"]])


def without_person(text: str, rater_id: str) -> str:
    """Return a JSON text, or a sentence, without a rater's id."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return json.dumps(_without(value, rater_id)) if isinstance(value, (dict, list)) else _sentence(text, rater_id)


def _without(value: Any, rater_id: str) -> Any:
    if isinstance(value, dict):
        return {name: _without(inner, rater_id) for name, inner in value.items() if name != rater_id}
    if isinstance(value, list):
        return [_without(inner, rater_id) for inner in value if inner != rater_id]
    return _sentence(value, rater_id) if isinstance(value, str) else value


def _sentence(text: str, rater_id: str) -> str:
    """Return a sentence or a list of names with commas without the id.

    An id that could be a word of any sentence goes only where it is all of the text, in a list, or after "by".
    """
    if rater_id not in text:
        return text
    names = [name.strip() for name in text.split(",")]
    if rater_id in names:
        return ",".join(name for name in names if name != rater_id)
    before = r"(?<![\w@.+-])" if re.search(r"[^a-z]", rater_id) else r"(?<=\bby )"
    return re.sub(before + re.escape(rater_id) + r"(?![\w@+-])", SOMEBODY, text)


def rewrite(folder: Path) -> bool:
    """Write the database anew, and empty the write-ahead log, so that no file holds what was deleted.

    Deleted rows linger in the log, in free pages and in copies that moved between pages. Others may read and write
    meanwhile; a write waits until it is over. Return whether the log could be emptied: a reader may hold it. Raises
    sqlite3.Error, such as for a full disk.
    """
    db = connect(folder)
    try:
        db.execute("VACUUM")
        deadline = time.monotonic() + CHECKPOINT_S
        while db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True
    finally:
        db.close()
