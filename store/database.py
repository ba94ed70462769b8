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
    """Open one more connection to the store in `folder`, for the use of one thread at a time. It must exist."""
    path = folder / FILE_NAME
    try:
        connection = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(
            "PRAGMA synchronous = FULL"
        )  # in WAL mode: an fsync at each commit, so that what is acknowledged survives
        return Database(connection)
    except sqlite3.DatabaseError as error:
        raise StoreCorrupt(
            f"{path} is not a usable database ({error}); move it away or name another --data folder"
        ) from error


def open_store(folder: Path) -> Database:
    """Open the store in `folder`; make the folder, the file and whatever tables and columns are missing.

    Raises DataFolderUnwritable, StoreCorrupt, or NewerSchema when a newer Attune has written there (nothing is changed
    then).
    """
    path = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise DataFolderUnwritable(
            f"the data folder {folder} cannot be written ({error.strerror}); name another with --data"
        ) from error
    db = connect(folder)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        unknown = {done.name for done in migrations.applied(db)} - {step.name for step in migrations._migrations}
        if unknown:
            raise NewerSchema(
                f"{path} was written by a newer Attune (it has {min(unknown)}); upgrade Attune or name another --data folder"
            )
        if migrations.pending(db):
            migrations.apply(db)
    except sqlite3.DatabaseError as error:
        raise StoreCorrupt(
            f"{path} is not a usable database ({error}); move it away or name another --data folder"
        ) from error
    return db


@contextlib.contextmanager
def transaction(db: Database) -> Generator[Database, None, None]:
    """One write transaction: all or nothing. Inside another one it is a savepoint.

    IMMEDIATE, since a read that turns into a write fails at once ("database is locked") when another process wrote in
    between.
    """
    if db.conn.in_transaction:
        with db.atomic():
            yield db
        return
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.conn.commit()
    except BaseException:  # a commit that fails leaves the transaction open, and the next would write into it unnoticed
        db.conn.rollback()
        raise
