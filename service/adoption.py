"""Conversations and feedback of a data folder brought to one of another base model, as text.

Token ids belong to a model, so every answer is encoded again. Ids of people, keys, conversations, answers and feedback
stay. Versions and runs do not come along: the other model learns from the feedback anew.
"""

import contextlib
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from store.blobs import pack_ids
from store.database import FILE_NAME, open_store, open_to_read, transaction
from store.json_columns import json_of
from store.permissions import PRIVATE_FILE

Row = dict[str, Any]
Encode = Callable[[list[dict[str, Any]], str], tuple[list[int], list[int]]]
BACKEND = "adopted"  # of answers that another base model gave
WINDOW = 200  # rows that are written at a time
PLAIN_TABLES = ("raters", "api_keys", "conversations")  # copied as they are, before what refers to them


@dataclass
class Adopted:
    """How many rows of each table were added, and how many answers the model's template refused, by its reason."""

    added: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


@contextlib.contextmanager
def copied_store(folder: Path) -> Iterator[Database]:
    """Give a copy of a store in today's schema; the original may be in use, and nothing in it changes.

    Raises StoreCorrupt, and NewerSchema for the store of a newer Attune.
    """
    with tempfile.TemporaryDirectory(prefix="attune-adopt-") as temporary:
        file = Path(temporary) / FILE_NAME
        file.touch(PRIVATE_FILE)
        with contextlib.closing(open_to_read(folder)) as old, contextlib.closing(sqlite3.connect(file)) as copy:
            old.conn.backup(copy)
        with contextlib.closing(open_store(Path(temporary))) as db:
            yield db


def adopt(old: Database, db: Database, encode: Encode) -> Adopted:
    """Add what people did in one store to another; rows that are there already stay. Return what was added.

    `encode(messages, text)` gives the token ids of a prompt and of an answer to it, with its end of turn, and raises
    ValueError for messages that the model cannot take: that answer is kept, and never learned from.
    """
    done = Adopted()
    for table in PLAIN_TABLES:
        _copy(old, db, table, lambda row: row, done)
    _copy(old, db, "completions", lambda row: _encoded(row, encode, done), done)
    _copy(old, db, "comparisons", lambda row: row, done)
    _copy(old, db, "feedback", _unnumbered, done)
    return done


def _copy(old: Database, db: Database, table: str, change: Callable[[Row], Row], done: Adopted) -> None:
    window: list[Row] = []
    known = _keys(db, table)
    for row in old.query(f"SELECT * FROM {table} ORDER BY rowid"):
        if _key(row, table) not in known:
            window.append(change(row))
        if len(window) == WINDOW:
            _insert(db, table, window, done)
            window = []
    _insert(db, table, window, done)


def _insert(db: Database, table: str, rows: Sequence[Row], done: Adopted) -> None:
    with transaction(db):
        for row in rows:
            columns = ", ".join(row)
            marks = ", ".join("?" * len(row))
            query = f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})"
            done.added[table] += db.execute(query, list(row.values())).rowcount


def _keys(db: Database, table: str) -> set[tuple[Any, ...]]:
    """Return the ids of the rows that are there; an answer that is there need not be encoded again."""
    columns = "id, choice" if table == "completions" else "id"
    return {_key(row, table) for row in db.query(f"SELECT {columns} FROM {table}")}


def _key(row: Row, table: str) -> tuple[Any, ...]:
    return (row["id"], row["choice"]) if table == "completions" else (row["id"],)


def _unnumbered(row: Row) -> Row:
    """Return feedback without its place in the order: the other store gives it the next."""
    return {name: value for name, value in row.items() if name != "seq"}


def _encoded(row: Row, encode: Encode, done: Adopted) -> Row:
    """Return an answer of no version here, with its text in this model's tokens.

    One without token ids, such as another backend's, was not to be learned from and gets none.
    """
    prompt_ids: list[int] = []
    completion_ids: list[int] = []
    if row["completion_ids"]:
        try:
            prompt_ids, completion_ids = encode(json_of(row["messages"], []), row["text"])
        except ValueError as error:
            done.refused[str(error)] += 1
    if row["finish_reason"] == "length":  # it was cut off, so its turn did not end
        completion_ids = completion_ids[:-1]
    ids = {"prompt_ids": pack_ids(prompt_ids), "completion_ids": pack_ids(completion_ids), "logps": b""}
    return {**row, **ids, "version": None, "backend": BACKEND if row["backend"] == "local" else row["backend"]}
