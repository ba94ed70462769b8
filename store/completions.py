"""Completions: each reply with its prompt, exactly as it was sampled. Rows are only ever added."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils import Database

from store.blobs import pack_ids, pack_logps, unpack_ids, unpack_logps
from store.errors import UnknownCompletion

_SPACES = "".join(
    char for char in map(chr, range(0x3001)) if char.isspace()
)  # as str.strip takes them; SQLite alone trims blanks only


@dataclass(frozen=True)
class Completion:
    """One reply (`choice` of the request `id`) as it was sampled.

    `prompt_ids` and `completion_ids` are the token ids that the model was fed and gave (its end-of-turn id included),
    `logps` (nats) the raw
    log-probability of each reply id at temperature 1, so `len(logps) == len(completion_ids)`. A foreign backend's reply
    has
    `version` None
    and may have no ids. `propensity` is the probability with which the router chose this version.
    """

    id: str
    choice: int
    rater_id: str
    kind: str  # chat | completion | comparison
    asked_model: str
    backend: str  # local, or the name of a comparison backend
    version: int | None
    messages: list[dict[str, Any]]
    prompt_ids: list[int]
    completion_ids: list[int]
    logps: list[float]
    text: str
    finish_reason: str
    created_at: str
    conversation_id: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    propensity: float = 1.0


def add_completions(db: Database, completions: Iterable[Completion]) -> None:
    """Append replies; their rater and conversation must be there."""
    db.table("completions").insert_all([_row(completion) for completion in completions])


def get_completion(db: Database, completion_id: str, choice: int = 0) -> Completion:
    """Return one reply. Raises UnknownCompletion."""
    for row in db.query("SELECT * FROM completions WHERE id = ? AND choice = ?", [completion_id, choice]):
        return _completion(row)
    raise UnknownCompletion(f"there is no completion {completion_id!r} with a choice {choice}")


def completions_of_conversation(db: Database, conversation_id: str) -> list[Completion]:
    """Return a conversation's replies, oldest first."""
    rows = db.query(
        "SELECT * FROM completions WHERE conversation_id = ? ORDER BY created_at, id, choice", [conversation_id]
    )
    return [_completion(row) for row in rows]


def completions_with_texts(db: Database, texts: Iterable[str]) -> list[Completion]:
    """Return the chat replies of our own versions with one of these texts (without spaces around), newest first. Reads
    the whole table once.
    """
    wanted = sorted(set(texts))
    marks = ",".join("?" * len(wanted))
    rows = db.query(
        f"SELECT * FROM completions WHERE kind = 'chat' AND backend = 'local' AND trim(text, ?) IN ({marks}) ORDER BY created_at DESC",
        [_SPACES, *wanted],
    )
    return [_completion(row) for row in rows]


def completion_of_record(record: Mapping[str, Any]) -> Completion:
    """Return the completion that `asdict` made a record of; the former name `reply_ids` is read too.

    Raises TypeError for a record that lacks a field or has one too many.
    """
    names = {"reply_ids": "completion_ids"}
    return Completion(**{names.get(name, name): value for name, value in record.items()})


def recent_prompts(db: Database, limit: int) -> list[Completion]:
    """Return the newest local replies, one per distinct prompt, newest first: the ground for rollouts and checks on
    what people ask.
    """
    rows = db.query(
        "SELECT *, max(rowid) AS newest FROM completions WHERE version IS NOT NULL AND length(prompt_ids) > 0 "
        "GROUP BY prompt_ids ORDER BY newest DESC LIMIT ?",
        [limit],
    )
    return [_completion({name: value for name, value in row.items() if name != "newest"}) for row in rows]


def _row(completion: Completion) -> dict[str, Any]:
    return {
        **{name: getattr(completion, name) for name in completion.__dataclass_fields__},
        "messages": json.dumps(completion.messages, ensure_ascii=False),
        "settings": json.dumps(completion.settings, ensure_ascii=False),
        "prompt_ids": pack_ids(completion.prompt_ids),
        "completion_ids": pack_ids(completion.completion_ids),
        "logps": pack_logps(completion.logps),
    }


def _completion(row: dict[str, Any]) -> Completion:
    return Completion(
        **{
            **row,
            "messages": json.loads(row["messages"]),
            "settings": json.loads(row["settings"]),
            "prompt_ids": unpack_ids(row["prompt_ids"]),
            "completion_ids": unpack_ids(row["completion_ids"]),
            "logps": unpack_logps(row["logps"]),
        }
    )
