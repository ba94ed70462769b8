"""Stored conversations and their answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from attune._types.chat import Message


@dataclass(frozen=True)
class Completion:
    """One answer in a conversation: its prompt, its text and its feedback, which points to `id` and `choice`.

    >>> completion = client.conversation("c1").completions[0]
    >>> completion.messages[-1].content, completion.content
    ('Hello!', 'Hello to you!')
    """

    id: str
    content: str = ""
    choice: int = 0
    model: str = ""
    messages: tuple[Message, ...] = ()
    finish_reason: str | None = None
    created_at: str = ""
    feedback: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Conversation:
    """One conversation; only `client.conversation(id)` fills `completions`.

    >>> client.conversation("c1").title
    'Hello!'
    """

    id: str
    title: str = ""
    rater: str = ""
    created_at: str = ""
    updated_at: str = ""
    completions: tuple[Completion, ...] = ()

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages up to and including the last answer.

        >>> client.chat([*client.conversation("c1").messages, attune.Message("user", "Hello!")]).text
        'Hello to you!'
        """
        if not self.completions:
            return ()
        last = self.completions[-1]
        return (*last.messages, Message("assistant", last.content))
