"""Completions: each stored answer with its prompt, exactly as sampled. Rows are only added."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils import Database

from store.blobs import pack_ids, pack_logps, unpack_ids, unpack_logps
from store.errors import UnknownCompletion
from store.json_columns import json_of

_SPACES = "".join(char for char in map(chr, range(0x3001)) if char.isspace())  # those of str.strip, for SQLite's trim


@dataclass(frozen=True)
class Completion:
    """One completion (number `choice` of the request `id`) as it was sampled.

    `prompt_ids` and `completion_ids` are the token ids that the model received and generated, with its end-of-turn id.
    `logps` (nats) has the raw log-probability of each completion id at temperature 1. A completion of another backend
    has `version` None and may have no ids. `propensity` is the router's probability of this version.
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
    """Append completions; their rater and conversation must exist."""
    db.table("completions").insert_all([_row(completion) for completion in completions])


def get_completion(db: Database, completion_id: str, choice: int = 0, *, rater_id: str | None = None) -> Completion:
    """Return one completion, with `rater_id` only if that rater asked for it. Raises UnknownCompletion otherwise."""
    query = "SELECT * FROM completions WHERE id = ? AND choice = ? AND rater_id = coalesce(?, rater_id)"
    for row in db.query(query, [completion_id, choice, rater_id]):
        return _completion(row)
    raise UnknownCompletion(f"there is no completion {completion_id!r} with a choice {choice}")


def completions_of_conversation(db: Database, conversation_id: str) -> list[Completion]:
    """Return a conversation's completions, oldest first."""
    rows = db.query(
        "SELECT * FROM completions WHERE conversation_id = ? ORDER BY created_at, id, choice", [conversation_id]
    )
    return [_completion(row) for row in rows]


def completions_with_texts(db: Database, texts: Iterable[str]) -> list[Completion]:
    """Return local chat completions with one of these texts, newest first; spaces around a text are ignored.

    It reads the whole table once.
    """
    wanted = sorted(set(texts))
    marks = ",".join("?" * len(wanted))
    rows = db.query(
        "SELECT * FROM completions WHERE kind = 'chat' AND backend = 'local' "
        f"AND trim(text, ?) IN ({marks}) ORDER BY created_at DESC",
        [_SPACES, *wanted],
    )
    return [_completion(row) for row in rows]


def completion_of_record(record: Mapping[str, Any]) -> Completion:
    """Return the completion of a record that `asdict` made; `reply_ids` is the former name of `completion_ids`.

    Raises TypeError for a missing or unknown field.
    """
    names = {"reply_ids": "completion_ids"}
    return Completion(**{names.get(name, name): value for name, value in record.items()})


def recent_prompts(db: Database, limit: int) -> list[Completion]:
    """Return the newest local completion of each distinct prompt, newest first, for rollouts and checks."""
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
            "messages": json_of(row["messages"], []),
            "settings": json_of(row["settings"], {}),
            "prompt_ids": unpack_ids(row["prompt_ids"]),
            "completion_ids": unpack_ids(row["completion_ids"]),
            "logps": unpack_logps(row["logps"]),
        }
    )
