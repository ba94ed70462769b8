"""A slot is one version's weights in memory. Its runner is a process of its own; answers hold the slot by leases."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum

from policy.runners.base import Runner, SamplingSettings, TokenDelta

log = logging.getLogger(__name__)


class SlotState(StrEnum):
    """`ready` takes requests; `draining` only finishes those it has; `closed` is gone."""

    READY = "ready"
    DRAINING = "draining"
    CLOSED = "closed"


class EventLoopMailbox:
    """Carries deltas from the runners' threads to the event loop; many that come together cost one wake-up."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pending: deque[tuple[Callable[[TokenDelta], None], TokenDelta]] = deque()
        self._is_scheduled = False

    def callback(self, receive: Callable[[TokenDelta], None]) -> Callable[[TokenDelta], None]:
        """Return a callback for any thread that runs `receive(delta)` on the event loop, in order."""

        def post(delta: TokenDelta) -> None:
            self._pending.append((receive, delta))
            if not self._is_scheduled:
                self._is_scheduled = True
                try:
                    self._loop.call_soon_threadsafe(self._deliver)
                except RuntimeError:  # the loop is closed, so nobody waits for deltas
                    self._pending.clear()

        return post

    def _deliver(self) -> None:
        self._is_scheduled = False  # before the queue is emptied: whatever comes after this line schedules again
        while self._pending:
            receive, delta = self._pending.popleft()
            try:
                receive(delta)
            except Exception:  # the deltas behind it are other answers'
                log.exception("the receiver of %s failed", delta.request_id)


class Slot:
    """One loaded version. Used from the event loop only."""

    def __init__(
        self, number: int, digest: str, runner: Runner, mailbox: EventLoopMailbox, memory_gib: float = 0.0
    ) -> None:
        self.number, self.digest, self.runner = number, digest, runner
        self.memory_gib = memory_gib  # what was reserved for it
        self.state = SlotState.READY
        self.leases: set[Lease] = set()
        self.used_at = time.monotonic()
        self._mailbox = mailbox

    @property
    def is_idle(self) -> bool:
        """Whether no answer holds the slot."""
        return not self.leases

    def lease(self, freed: Callable[[], None]) -> "Lease":
        """Return a new lease; `freed` is called when it ends."""
        lease = Lease(self, self._mailbox, freed)
        self.leases.add(lease)
        self.used_at = lease.began_at
        return lease


class Lease:
    """One answer's hold on a slot, which stays in memory until the lease ends."""

    def __init__(self, slot: Slot, mailbox: EventLoopMailbox, freed: Callable[[], None]) -> None:
        self.slot = slot
        self.began_at = time.monotonic()
        self.cut_reason = ""  # why the engine ended the answer, if it did
        self._mailbox, self._freed = mailbox, freed
        self._open: dict[str, Callable[[TokenDelta], None]] = {}  # receivers by request id

    def submit(
        self,
        request_id: str,
        prompt_ids: Sequence[int],
        settings: SamplingSettings,
        receive: Callable[[TokenDelta], None],
    ) -> None:
        """Start one generation; its deltas come to `receive` on the event loop, the last with a finish."""
        self._open[request_id] = receive

        def on_loop(delta: TokenDelta) -> None:
            if delta.finish:
                self._open.pop(request_id, None)
            receive(delta)

        self.slot.runner.submit(request_id, prompt_ids, settings, self._mailbox.callback(on_loop))

    def cancel(self, request_id: str) -> None:
        """Cancel one generation; after its end this changes nothing."""
        if self._open.pop(request_id, None) is not None:
            self.slot.runner.cancel(request_id)

    def again(self) -> "Lease":
        """Return a second lease of the same slot, for requests about an answer that has ended."""
        return self.slot.lease(self._freed)

    def cut(self, reason: str) -> None:
        """End all open generations from the engine's side; the reader gets `reason`.

        It does not wait for the runner, which may be in a long step, or hang.
        """
        self.cut_reason = reason
        for request_id, receive in list(self._open.items()):
            self.cancel(request_id)
            receive(TokenDelta(request_id, finish="cancelled"))

    def end(self) -> None:
        """Give the slot back and cancel what is still open; a second call changes nothing."""
        for request_id in list(self._open):
            self.cancel(request_id)
        if self in self.slot.leases:
            self.slot.leases.discard(self)
            self.slot.used_at = time.monotonic()
            self._freed()
