"""Conversations of one rater with the assistant."""

from dataclasses import asdict, dataclass

from sqlite_utils import Database

from store.errors import UnknownConversation
from store.ids import now
from store.searches import containing


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
    """Add the conversation unless it exists, and set its `updated_at` to now.

    Raises UnknownConversation as `check_can_continue` does.
    """
    check_can_continue(db, conversation_id, rater_id)
    at = now()
    db.table("conversations").insert(
        asdict(Conversation(conversation_id, rater_id, title[:120], at, at)), pk="id", ignore=True
    )
    db.execute("UPDATE conversations SET updated_at = ? WHERE id = ?", [at, conversation_id])


def check_can_continue(db: Database, conversation_id: str, rater_id: str) -> None:
    """Raise UnknownConversation for an id that is another rater's, or of a deleted conversation.

    An id that nobody uses is fine: a new conversation may carry it.
    """
    query = "SELECT 1 FROM conversations WHERE id = ? AND (rater_id != ? OR deleted_at IS NOT NULL)"
    for _ in db.query(query, [conversation_id, rater_id]):
        raise UnknownConversation(
            f"there is no conversation {conversation_id!r} to continue; leave conversation_id out to begin a new one"
        )


def get_conversation(db: Database, conversation_id: str, *, rater_id: str | None = None) -> Conversation:
    """Return one conversation, with `rater_id` only if it is that rater's.

    Raises UnknownConversation otherwise, and for a deleted one.
    """
    query = "SELECT * FROM conversations WHERE id = ? AND deleted_at IS NULL AND rater_id = coalesce(?, rater_id)"
    for row in db.query(query, [conversation_id, rater_id]):
        return Conversation(**row)
    raise UnknownConversation(f"there is no conversation {conversation_id!r}")


def conversations(
    db: Database, rater_id: str | None, *, before: tuple[str, str] | None = None, limit: int = 50, search: str = ""
) -> list[Conversation]:
    """Return conversations with `search` in their title, latest first; letter case is ignored in ASCII.

    `before` has `updated_at` and `id` of the previous page's last one.
    """
    updated_at, last_id = before or (None, None)
    rows = db.query(
        "SELECT * FROM conversations WHERE deleted_at IS NULL AND rater_id = coalesce(:rater, rater_id) "
        "AND (:updated_at IS NULL OR (updated_at, id) < (:updated_at, :last_id)) "
        "AND (:search = '' OR title LIKE :pattern ESCAPE '\\') ORDER BY updated_at DESC, id DESC LIMIT :limit",
        {
            "rater": rater_id,
            "updated_at": updated_at,
            "last_id": last_id,
            "limit": limit,
            "search": search,
            "pattern": containing(search),
        },
    )
    return [Conversation(**row) for row in rows]


def delete_conversation(db: Database, conversation_id: str) -> None:
    """Hide a conversation. Versions that learned from it stay until its rater is erased. Raises UnknownConversation."""
    get_conversation(db, conversation_id)
    db.execute("UPDATE conversations SET deleted_at = ? WHERE id = ?", [now(), conversation_id])
