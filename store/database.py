"""Opening the database, and transactions on it."""

import contextlib
import os
import sqlite3
from collections.abc import Generator
from pathlib import Path

from sqlite_utils import Database

from store.errors import DataFolderUnwritable, NewerSchema, StoreCorrupt
from store.migrations import migrations

FILE_NAME = "attune.db"
BUSY_S = 20.0  # how long a write waits for another process's write before it fails


def connect(folder: Path) -> Database:
    """Open another connection to an existing store, for one thread at a time. Raises StoreCorrupt."""
    path = folder / FILE_NAME
    try:
        connection = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")  # in WAL mode: fsync at each commit
        return Database(connection)
    except sqlite3.DatabaseError as error:
        raise StoreCorrupt(
            f"{path} is not a usable database ({error}); move it away or name another --data folder"
        ) from error


def open_store(folder: Path) -> Database:
    """Open the store in `folder`; make the folder, the file, and the tables and columns that are missing.

    Raises DataFolderUnwritable, StoreCorrupt, or NewerSchema for the file of a newer Attune, which stays unchanged.
    """
    path = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / f".writable-{os.getpid()}"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise DataFolderUnwritable(
            f"the data folder {folder} cannot be written ({error.strerror}); name another with --data"
        ) from error
    db = connect(folder)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        unknown = {done.name for done in migrations.applied(db)} - {one.name for one in migrations._migrations}
        if unknown:
            newer = f"{path} was written by a newer Attune (it has {min(unknown)})"
            raise NewerSchema(f"{newer}; upgrade Attune or name another --data folder")
        if migrations.pending(db):
            migrations.apply(db)
    except sqlite3.DatabaseError as error:
        raise StoreCorrupt(
            f"{path} is not a usable database ({error}); move it away or name another --data folder"
        ) from error
    return db


@contextlib.contextmanager
def transaction(db: Database) -> Generator[Database, None, None]:
    """Run a with-block as one write transaction, all or nothing. Inside another transaction it is a savepoint.

    It is IMMEDIATE: otherwise a read that becomes a write fails ("database is locked") if another process wrote since.
    """
    if db.conn.in_transaction:
        with db.atomic():
            yield db
        return
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.conn.commit()
    except BaseException:  # a failed commit leaves the transaction open, and the next would write into it
        db.conn.rollback()
        raise
