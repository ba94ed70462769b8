"""Holds back the tokens of a few steps, so that one message and one wake-up carry them. No torch.

A small model takes a step in a millisecond. Nobody sees text that changes more often than a screen does, and each
message costs the service more than a step.
"""

from collections.abc import Iterable
from dataclasses import replace

from policy.runners.base import TokenDelta

FRAME_S = 1 / 60  # how long a token is held back at most, unless a step takes longer


class DeltaBuffer:
    """The deltas of open generations that are held back. The first and the last of a generation never are."""

    def __init__(self, frame_s: float = FRAME_S) -> None:
        self._frame_s, self._due = frame_s, 0.0
        self._held: dict[str, TokenDelta] = {}
        self._begun: set[str] = set()

    def add(self, deltas: Iterable[TokenDelta], now: float) -> list[TokenDelta]:
        """Add the deltas of one step at `now` (seconds of a monotonic clock); return those that go out."""
        leaving = []
        for delta in deltas:
            merged = self._merged(delta)
            if merged.finish or merged.request_id not in self._begun:
                self._held.pop(merged.request_id, None)
                leaving.append(merged)
            else:
                self._held[merged.request_id] = merged
            if merged.finish:
                self._begun.discard(merged.request_id)
            else:
                self._begun.add(merged.request_id)
        if now >= self._due:
            self._due = now + self._frame_s
            leaving += self.take()
        return leaving

    def take(self) -> list[TokenDelta]:
        """Return all that is held back; call it before work that takes long."""
        held, self._held = list(self._held.values()), {}
        return held

    def _merged(self, delta: TokenDelta) -> TokenDelta:
        held = self._held.get(delta.request_id)
        if held is None:
            return delta
        return replace(delta, ids=held.ids + delta.ids, logps=held.logps + delta.logps)
