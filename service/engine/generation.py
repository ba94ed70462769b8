"""One generation as it grows: token ids and log-probabilities exactly as sampled, and the text that may be shown."""

import math
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from policy.runners.base import TokenDelta
from service.engine.stops import StopFilter


class Decoder(Protocol):
    """Turns token ids into text as they come; never gives half a character.

    `num_carried` counts the first characters of the last text that belong to tokens before.
    """

    num_carried: int

    @property
    def is_at_start(self) -> bool:
        """Whether no token with text came yet."""

    def feed(self, token_id: int) -> str: ...

    def finish(self) -> str: ...


@dataclass(frozen=True)
class Token:
    """One sampled token and its log-probability (nats) under the raw model.

    `offset` counts the characters of the completion before it; `is_first` is true where no text came before.
    `alternatives` are the likeliest tokens at its index with their log-probabilities, if they were asked for.
    """

    id: int
    logp: float
    offset: int = 0
    is_first: bool = False
    alternatives: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class TextDelta:
    """What one generation gained: text to show and its tokens; `finish_reason` is set on the last delta."""

    index: int
    text: str
    tokens: tuple[Token, ...]
    finish_reason: str | None

    def can_merge(self, following: "TextDelta") -> bool:
        """Whether the next delta is of the same generation."""
        return following.index == self.index

    def merge(self, following: "TextDelta") -> "TextDelta":
        """Return both as one."""
        return TextDelta(
            self.index, self.text + following.text, self.tokens + following.tokens, following.finish_reason
        )


class TextGeneration:
    """A generation of a backend: text alone."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.ids: list[int] = []
        self.logps: list[float] = []
        self.text = ""
        self.finish_reason: str | None = None

    def add(self, text: str) -> TextDelta:
        """Add some text."""
        self.text += text
        return TextDelta(self.index, text, (), None)

    def end(self, finish_reason: str) -> TextDelta:
        """End the generation: no more text comes."""
        self.finish_reason = finish_reason
        return TextDelta(self.index, "", (), finish_reason)


class Generation:
    """One of the n completions of an answer while it is sampled. Pure: token deltas in, text deltas out."""

    def __init__(self, index: int, decoder: Decoder, stops: tuple[str, ...], end_ids: tuple[int, ...]) -> None:
        self.index = index
        self.ids: list[int] = []
        self.logps: list[float] = []
        self.text = ""
        self.finish_reason: str | None = None
        self._decoder, self._filter, self._end_ids = decoder, StopFilter(stops), end_ids
        self._decoded = 0  # characters decoded so far, shown or held back
        self._unshown: deque[tuple[Token, int, int]] = deque()  # each with the span of its text: [start, end)

    def add(self, delta: TokenDelta) -> TextDelta:
        """Add sampled tokens.

        Once a stop string is found, `finish_reason` is set, and later tokens of the delta are dropped. Raises
        ValueError for a log-probability that is no finite number.
        """
        shown = ""
        for token_id, logp in zip(delta.ids, delta.logps, strict=True):
            if not math.isfinite(logp):
                raise ValueError(f"the log-probability of token {token_id} is {logp}")
            self.ids.append(token_id)
            self.logps.append(logp)
            shown += self._show(self._text_of(token_id, logp)) if token_id not in self._end_ids else ""
            if self._filter.found:
                return self._end(shown, "stop")
        if delta.finish:
            shown += self._show(self._decoder.finish())
            if not self._filter.found:
                shown += self._filter.finish()
            return self._end(shown, "stop" if self._filter.found else delta.finish)
        return self._text_delta(shown)

    def _text_of(self, token_id: int, logp: float) -> str:
        """Return the text that a token completes; the token waits until it is shown."""
        is_first = self._decoder.is_at_start
        text = self._decoder.feed(token_id)
        start = self._decoded + self._decoder.num_carried
        self._unshown.append((Token(token_id, logp, start, is_first), start, self._decoded + len(text)))
        return text

    def _show(self, text: str) -> str:
        self._decoded += len(text)
        return self._filter.feed(text) if text else ""

    def _end(self, shown: str, reason: str) -> TextDelta:
        self.finish_reason = reason
        return self._text_delta(shown)

    def _text_delta(self, shown: str) -> TextDelta:
        self.text += shown
        tokens = []
        while self._unshown and self._is_shown(self._unshown[0]):
            tokens.append(self._unshown.popleft()[0])
        return TextDelta(self.index, shown, tuple(tokens), self.finish_reason)

    def _is_shown(self, token: tuple[Token, int, int]) -> bool:
        _, start, end = token
        if self.finish_reason is not None:  # all its text, or at least its beginning, is before the stop string
            return start < len(self.text) or not self._filter.found
        return end <= len(self.text)
