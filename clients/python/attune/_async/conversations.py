"""Methods on stored conversations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from attune._requests import Request, get, segment
from attune._types.conversations import Conversation
from attune._types.reading import read

if TYPE_CHECKING:
    from attune._async.connection import AsyncConnection


class AsyncConversationMethods:
    """The methods of `AsyncClient` on conversations."""

    _connection: AsyncConnection

    async def conversations(self, *, limit: int | None = None) -> AsyncIterator[Conversation]:
        """Your conversations without their messages, latest first; pages load as you iterate.

        >>> [conversation.title async for conversation in client.conversations()]
        ['Hello!']
        """
        async for one in self._connection.pages(get("/v1/conversations", limit=limit), Conversation):
            yield one

    async def conversation(self, conversation_id: str) -> Conversation:
        """One conversation with its messages. Raises NotFound.

        >>> conversation = await client.conversation("c1")
        >>> [message.content for message in conversation.messages]
        ['Hello!', 'Hello to you!']
        """
        return read(Conversation, await self._connection.json(get(f"/v1/conversations/{segment(conversation_id)}")))

    async def delete_conversation(self, conversation_id: str) -> None:
        """Delete a conversation. Raises NotFound.

        >>> await client.delete_conversation("c1")
        """
        await self._connection.json(Request("DELETE", f"/v1/conversations/{segment(conversation_id)}"))
