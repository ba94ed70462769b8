"""Opening the database, and transactions on it."""

import contextlib
import os
import sqlite3
from collections.abc import Generator
from pathlib import Path

from sqlite_utils import Database

from store.errors import DataFolderUnwritable, NewerSchema, StoreCorrupt
from store.migrations import migrations
from store.permissions import PRIVATE_FILE, PRIVATE_FOLDER, make_private

FILE_NAME = "attune.db"
ADVICE = {
    sqlite3.SQLITE_BUSY: "another process writes to it; try again",
    sqlite3.SQLITE_LOCKED: "another process writes to it; try again",
    sqlite3.SQLITE_FULL: "free some space on its disk",
    sqlite3.SQLITE_IOERR: "its disk fails",
}
BUSY_S = 20.0  # how long a write waits for another process's write before it fails


def connect(folder: Path) -> Database:
    """Open another connection to an existing store, for one thread at a time. Raises StoreCorrupt."""
    with damage_named(folder):
        connection = sqlite3.connect(folder / FILE_NAME, timeout=BUSY_S, check_same_thread=False)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")  # in WAL mode: fsync at each commit
        return Database(connection)


def changes_mark(folder: Path) -> tuple[int, int]:
    """Return a mark that differs after each write to the store: size and time of its write-ahead log.

    Two writes within a few milliseconds may have the same mark, so readers look again after a while all the same.
    """
    try:
        status = os.stat(folder / f"{FILE_NAME}-wal")
    except OSError:  # a store that was just opened has none
        return 0, 0
    return status.st_size, status.st_mtime_ns


def open_store(folder: Path) -> Database:
    """Open the store in `folder`; make the folder, the file, and the tables and columns that are missing.

    Both are their owner's alone. Raises DataFolderUnwritable, StoreCorrupt, or NewerSchema for the file of a newer
    Attune, which stays unchanged.
    """
    path = folder / FILE_NAME
    make_folder(folder)
    with _writable(folder):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE))  # journals get the same mode
    db = connect(folder)
    with damage_named(folder):
        db.execute("PRAGMA journal_mode = WAL")
        _refuse_newer(db, path)
        if migrations.pending(db):
            migrations.apply(db)
    make_private(folder, FILE_NAME)  # last: what is no store of ours stays as it is
    return db


def make_folder(folder: Path) -> None:
    """Make a data folder, its owner's alone, unless it is there. Raises DataFolderUnwritable."""
    with _writable(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        trial = folder / f".writable-{os.getpid()}"
        trial.touch()
        trial.unlink()


@contextlib.contextmanager
def _writable(folder: Path) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        raise DataFolderUnwritable(
            f"the data folder {folder} cannot be written ({error.strerror}); name another with --data"
        ) from error


def open_to_read(folder: Path) -> Database:
    """Open an existing store and change nothing in it. Raises StoreCorrupt, and NewerSchema as `open_store` does.

    A store of an older Attune keeps its tables and columns.
    """
    path = folder / FILE_NAME
    with damage_named(folder):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_S)
        connection.execute("PRAGMA query_only = ON")
        db = Database(connection)
        _refuse_newer(db, path)
    return db


def schema_of(db: Database) -> str:
    """Return the name of the last migration of a store, "" for none."""
    return max((done.name for done in migrations.applied(db)), default="")


def check_folder(folder: Path) -> None:
    """Check that a store can be opened or made in `folder`, and change nothing. Raises as `open_store` does."""
    existing = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        reason = f"{existing} cannot be written" if existing.is_dir() else f"{existing} is a file"
        raise DataFolderUnwritable(f"the data folder {folder} cannot be used: {reason}; name another with --data")
    if (folder / FILE_NAME).exists():
        open_to_read(folder).close()


def _refuse_newer(db: Database, path: Path) -> None:
    unknown = {done.name for done in migrations.applied(db)} - {one.name for one in migrations._migrations}
    if unknown:
        newer = f"{path} was written by a newer Attune (it has {min(unknown)})"
        raise NewerSchema(f"{newer}; upgrade Attune or name another --data folder")


@contextlib.contextmanager
def damage_named(folder: Path) -> Generator[None, None, None]:
    """Turn what SQLite raises in a with-block into StoreCorrupt, in one sentence with what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        advice = ADVICE.get(code, "move it away or name another --data folder")
        raise StoreCorrupt(f"{folder / FILE_NAME} is not a usable database ({error}); {advice}") from error


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
