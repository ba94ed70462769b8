"""A question: one sentence or a whole conversation, in the form that the service accepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attune._types.chat import Message

Messages = str | Sequence[Message | Mapping[str, Any]]


@dataclass(frozen=True)
class Asked:
    """The question behind an answer, kept to ask it again or to continue. `model` is the name in the request."""

    messages: tuple[dict[str, Any], ...]
    model: str
    settings: dict[str, Any]


def asked(messages: Messages, model: str, settings: Mapping[str, Any]) -> Asked:
    """Return a question from a sentence or a conversation. Settings that are None are left out."""
    return Asked(turns(messages), model, {name: value for name, value in settings.items() if value is not None})


def turns(messages: Messages) -> tuple[dict[str, Any], ...]:
    """Return messages in the form that the service accepts. Raises ValueError for an empty conversation."""
    if isinstance(messages, str):
        return ({"role": "user", "content": messages},)
    found = tuple(
        {"role": message.role, "content": message.content} if isinstance(message, Message) else dict(message)
        for message in messages
    )
    if not found:
        raise ValueError("There are no messages; give at least one.")
    return found
