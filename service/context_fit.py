"""Fits a conversation into the context: the oldest turns are dropped whole, or the request is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from service.errors import ContextLengthExceeded


class Renders(Protocol):
    """The part of a model that is needed here."""

    def prompt_ids(self, messages: Sequence[dict[str, Any]]) -> list[int]: ...


@dataclass(frozen=True)
class Prompt:
    """A rendered conversation, with room for `max_tokens` of completion; `dropped` counts messages left out."""

    ids: list[int]
    messages: tuple[dict[str, Any], ...]
    max_tokens: int
    dropped: int


def fit_prompt(
    model: Renders,
    messages: Sequence[dict[str, Any]],
    context: int,
    max_tokens: int | None,
    default_max_tokens: int,
    may_drop_turns: bool,
) -> Prompt:
    """Render a conversation so that it and the completion fit into `context` tokens.

    A `max_tokens` that was asked for is kept. The default shrinks to a quarter of the context before turns are dropped.
    Raises ContextLengthExceeded.
    """
    if max_tokens is not None and max_tokens >= context:
        message = f"max_tokens is {max_tokens}, but this model's context holds {context} tokens, the prompt included"
        raise ContextLengthExceeded(message, param="max_tokens")
    needed = max_tokens if max_tokens is not None else min(default_max_tokens, context // 4)
    kept, dropped = list(messages), 0
    while True:
        ids = model.prompt_ids(kept)
        room = context - len(ids)
        if room >= needed:
            return Prompt(
                ids, tuple(kept), max_tokens if max_tokens is not None else min(default_max_tokens, room), dropped
            )
        shorter = without_oldest_turn(kept) if may_drop_turns else kept
        if len(shorter) == len(kept):
            taken = f"the messages take {len(ids)} and the answer {needed}"
            message = f"this model's context holds {context} tokens; {taken}. Shorten one of them"
            raise ContextLengthExceeded(message, param="messages")
        dropped += len(kept) - len(shorter)
        kept = shorter


def without_oldest_turn(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the oldest user message and its answers; system messages and the last user message stay."""
    users = [index for index, message in enumerate(messages) if message["role"] == "user"]
    if len(users) < 2:
        return list(messages)
    return [message for index, message in enumerate(messages) if index >= users[1] or message["role"] == "system"]
