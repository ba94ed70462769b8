"""Fits a conversation into the context: the oldest turns are dropped whole, or the request is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from service.errors import ContextLengthExceeded

USUAL_CHARS = 4  # characters of a token: a conversation with no more for each token that fits is rendered whole first
Messages = Sequence[dict[str, Any]]


class PromptEncoder(Protocol):
    """Renders the conversations of one request, and tokenizes each of their turns once."""

    def prompt_ids_within(self, messages: Messages, limit: int) -> list[int] | None:
        """Return the token ids, None when there are more than `limit`; what is far too long is not tokenized."""


@dataclass(frozen=True)
class Prompt:
    """A rendered conversation, with room for `max_tokens` of completion; `dropped` counts messages left out."""

    ids: list[int]
    messages: tuple[dict[str, Any], ...]
    max_tokens: int
    dropped: int


def fit_prompt(
    encoder: PromptEncoder,
    messages: Messages,
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
    limit = context - needed
    users = _user_indices(messages) if may_drop_turns else []
    num_dropped, ids = _fewest_dropped(encoder, messages, users, limit)
    if ids is None:
        taken = f"the messages take more than {limit}, which leaves no room for the answer's {needed}"
        message = f"this model's context holds {context} tokens; {taken}. Shorten one of them"
        raise ContextLengthExceeded(message, param="messages")
    kept = _without_turns(messages, users, num_dropped)
    room = max_tokens if max_tokens is not None else min(default_max_tokens, context - len(ids))
    return Prompt(ids, tuple(kept), room, len(messages) - len(kept))


def _fewest_dropped(
    encoder: PromptEncoder, messages: Messages, users: Sequence[int], limit: int
) -> tuple[int, list[int] | None]:
    """Return how many of the oldest turns to drop, and the ids of the rest: None where even the last turn is too long.

    The search begins with the last turn and takes twice as many each time, so that it tokenizes little more than fits.
    """

    @cache
    def ids_without(num_dropped: int) -> list[int] | None:
        return encoder.prompt_ids_within(_without_turns(messages, users, num_dropped), limit)

    fits, too_many = max(0, len(users) - 1), -1  # turns to drop: so many suffice, so few do not
    if fits == 0 or _num_characters(messages) <= USUAL_CHARS * limit:
        if fits == 0 or ids_without(0) is not None:
            return 0, ids_without(0)
        too_many = 0
    if ids_without(fits) is None:
        return fits, None
    num_kept = 1
    while fits - too_many > 1:
        num_kept *= 2
        tried = max(len(users) - num_kept, 0)
        if not too_many < tried < fits:
            tried = (fits + too_many) // 2
        if ids_without(tried) is None:
            too_many = tried
        else:
            fits = tried
    return fits, ids_without(fits)


def _user_indices(messages: Messages) -> list[int]:
    return [index for index, message in enumerate(messages) if message["role"] == "user"]


def _without_turns(messages: Messages, users: Sequence[int], num_dropped: int) -> list[dict[str, Any]]:
    """Leave out the oldest user messages and their answers; system messages and the last user message stay."""
    first = users[num_dropped] if num_dropped else 0
    return [message for index, message in enumerate(messages) if index >= first or message["role"] == "system"]


def _num_characters(messages: Messages) -> int:
    return sum(len(message["content"]) for message in messages if isinstance(message["content"], str))
