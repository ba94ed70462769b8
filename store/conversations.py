"""Conversations of one rater with the assistant."""

from dataclasses import asdict, dataclass

from sqlite_utils import Database

from store.errors import UnknownConversation
from store.ids import now


@dataclass(frozen=True)
class Conversation:
    """One conversation; `title` is the beginning of its first message."""

    id: str
    rater_id: str
    title: str
    created_at: str
    updated_at: str
    deleted_at: str | None = None


def ensure_conversation(db: Database, conversation_id: str, rater_id: str, title: str) -> None:
    """Add the conversation unless it exists, and set its `updated_at` to now."""
    at = now()
    db.table("conversations").insert(
        asdict(Conversation(conversation_id, rater_id, title[:120], at, at)), pk="id", ignore=True
    )
    db.execute("UPDATE conversations SET updated_at = ? WHERE id = ?", [at, conversation_id])


def get_conversation(db: Database, conversation_id: str) -> Conversation:
    """Return one conversation. Raises UnknownConversation, also for a deleted one."""
    for row in db.query("SELECT * FROM conversations WHERE id = ? AND deleted_at IS NULL", [conversation_id]):
        return Conversation(**row)
    raise UnknownConversation(f"there is no conversation {conversation_id!r}")


def conversations(
    db: Database, rater_id: str | None, *, before: str | None = None, limit: int = 50, search: str = ""
) -> list[Conversation]:
    """Return conversations, latest first; `before` is the `updated_at` of the previous page's last one."""
    rows = db.query(
        "SELECT * FROM conversations WHERE deleted_at IS NULL AND (:rater IS NULL OR rater_id = :rater) "
        "AND (:before IS NULL OR updated_at < :before) AND (:search = '' OR title LIKE '%' || :search || '%') "
        "ORDER BY updated_at DESC LIMIT :limit",
        {"rater": rater_id, "before": before, "limit": limit, "search": search},
    )
    return [Conversation(**row) for row in rows]


def delete_conversation(db: Database, conversation_id: str) -> None:
    """Hide a conversation. Versions that learned from it stay until its rater is erased. Raises UnknownConversation."""
    get_conversation(db, conversation_id)
    db.execute("UPDATE conversations SET deleted_at = ? WHERE id = ?", [now(), conversation_id])
