"""Whether the store works: a row is written, read back by another connection, and rows of each table are read."""

import random

from sqlite_utils import Database

from store.ids import new_id


def write_mark(db: Database) -> str:
    """Write a row that no earlier check wrote; return its mark. Call it in a transaction. Raises sqlite3.Error."""
    mark = new_id("ready-")
    db.execute("INSERT INTO readiness VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET mark = excluded.mark", [mark])
    return mark


def read_mark(db: Database) -> str:
    """Return the mark of the last check, "" before any. Raises sqlite3.Error."""
    row = db.execute("SELECT mark FROM readiness WHERE id = 1").fetchone()
    return str(row[0]) if row is not None else ""


def read_samples(db: Database) -> int:
    """Read the newest row of each table and one at random; return how many rows. Raises sqlite3.Error.

    Each call reads other pages, so that a damaged one is met in time, and every call is quick.
    """
    count = 0
    for name, sql in db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
        if "WITHOUT ROWID" in sql.upper():
            rows = db.execute(f'SELECT * FROM "{name}" LIMIT 1').fetchall()
        else:
            # two queries in one: a query for both at once would read the whole table
            ends = f'SELECT (SELECT min(rowid) FROM "{name}"), (SELECT max(rowid) FROM "{name}")'
            first, last = db.execute(ends).fetchone()
            drawn = random.randint(first, last) if first is not None else 0
            rows = db.execute(
                f'SELECT * FROM "{name}" WHERE rowid IN (?, (SELECT rowid FROM "{name}" WHERE rowid >= ? LIMIT 1))',
                [last, drawn],
            ).fetchall()
        count += len(rows)
    return count
