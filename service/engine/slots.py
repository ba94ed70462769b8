"""A slot is one version's weights in memory. Its runner lives in a process of its own; answers come back step by step.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum

from policy.runners.base import Runner, SamplingSettings, TokenDelta


class SlotState(StrEnum):
    """`ready` takes requests; `draining` only finishes those it has; `closed` is gone."""

    READY = "ready"
    DRAINING = "draining"
    CLOSED = "closed"


class Post:
    """Carries steps from the runners' threads to the event loop; many that come together cost one wake-up."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._bag: deque[tuple[Callable[[TokenDelta], None], TokenDelta]] = deque()
        self._called = False

    def to(self, receive: Callable[[TokenDelta], None]) -> Callable[[TokenDelta], None]:
        """Return a callback for any thread that has `receive(step)` run on the event loop, in order."""

        def carry(step: TokenDelta) -> None:
            self._bag.append((receive, step))
            if not self._called:
                self._called = True
                try:
                    self._loop.call_soon_threadsafe(self._hand_out)
                except RuntimeError:  # the loop is closed: nobody waits for steps any more
                    self._bag.clear()

        return carry

    def _hand_out(self) -> None:
        self._called = False  # before emptying the bag: whatever is put in after this line calls again
        while self._bag:
            receive, step = self._bag.popleft()
            receive(step)


class Slot:
    """One loaded version. Used from the event loop only."""

    def __init__(self, number: int, digest: str, runner: Runner, post: Post, memory_gib: float = 0.0) -> None:
        self.number, self.digest, self.runner = number, digest, runner
        self.memory_gib = memory_gib  # what was set aside for it
        self.state = SlotState.READY
        self.leases: set[Lease] = set()
        self.used_at = time.monotonic()
        self._post = post

    @property
    def is_idle(self) -> bool:
        """Whether nobody is being answered, or about to be."""
        return not self.leases

    def lease(self, freed: Callable[[], None]) -> "Lease":
        """Promise somebody an answer by this version; `freed` is called when the promise ends."""
        lease = Lease(self, self._post, freed)
        self.leases.add(lease)
        self.used_at = lease.began_at
        return lease


class Lease:
    """The promise of one answer (of one or more replies) by one slot, which stays until the lease ends."""

    def __init__(self, slot: Slot, post: Post, freed: Callable[[], None]) -> None:
        self.slot = slot
        self.began_at = time.monotonic()
        self.cut_reason = ""  # why the answer was ended from here, if it was
        self._post, self._freed = post, freed
        self._open: set[str] = set()

    def submit(
        self,
        request_id: str,
        prompt_ids: Sequence[int],
        settings: SamplingSettings,
        receive: Callable[[TokenDelta], None],
    ) -> None:
        """Start one reply; its steps come to `receive` on the event loop, the last with a finish."""
        self._open.add(request_id)

        def on_loop(step: TokenDelta) -> None:
            if step.finish:
                self._open.discard(request_id)
            receive(step)

        self.slot.runner.submit(request_id, prompt_ids, settings, self._post.to(on_loop))

    def cancel(self, request_id: str) -> None:
        """End one reply within a step; doing so after its end changes nothing."""
        if request_id in self._open:
            self._open.discard(request_id)
            self.slot.runner.cancel(request_id)

    def again(self) -> "Lease":
        """Promise the same slot for longer than this lease: for questions about an answer that has ended."""
        return self.slot.lease(self._freed)

    def cut(self, reason: str) -> None:
        """End all open replies from the engine's side; the reader is told `reason`."""
        self.cut_reason = reason
        for request_id in list(self._open):
            self.slot.runner.cancel(request_id)

    def end(self) -> None:
        """Give the slot back, ending what is still open; a second time changes nothing."""
        for request_id in list(self._open):
            self.cancel(request_id)
        if self in self.slot.leases:
            self.slot.leases.discard(self)
            self.slot.used_at = time.monotonic()
            self._freed()
