# Written by make_sync.py from attune/_async/conversations.py.
# Change that file, then run `python clients/python/make_sync.py`.
"""Methods on stored conversations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attune._requests import Request, get, segment
from attune._types.conversations import Conversation
from attune._types.reading import read

if TYPE_CHECKING:
    from attune._sync.connection import Connection


class ConversationMethods:
    """The methods of `Client` on conversations."""

    _connection: Connection

    def conversations(self, *, limit: int | None = None) -> Iterator[Conversation]:
        """Your conversations without their messages, latest first; pages load as you iterate.

        >>> [conversation.title for conversation in client.conversations()]
        ['Hello!']
        """
        for one in self._connection.pages(get("/v1/conversations", limit=limit), Conversation):
            yield one

    def conversation(self, conversation_id: str) -> Conversation:
        """One conversation with its messages. Raises NotFound.

        >>> conversation = client.conversation("c1")
        >>> [message.content for message in conversation.messages]
        ['Hello!', 'Hello to you!']
        """
        return read(Conversation, self._connection.json(get(f"/v1/conversations/{segment(conversation_id)}")))

    def delete_conversation(self, conversation_id: str) -> None:
        """Delete a conversation. Raises NotFound.

        >>> client.delete_conversation("c1")
        """
        self._connection.json(Request("DELETE", f"/v1/conversations/{segment(conversation_id)}"))
