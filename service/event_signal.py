"""Wakes followers of the event stream when there is a new event, so that they need not each poll the store."""

import asyncio


class EventSignal:
    """The newest event's sequence number, and waiting until it grows."""

    def __init__(self) -> None:
        self.latest = 0
        self.closed = False
        self._changed = asyncio.Event()

    def publish(self, seq: int) -> None:
        """Set the newest number and wake all waiters."""
        if seq > self.latest:
            self.latest = seq
            self._wake()

    def close(self) -> None:
        """Wake all waiters for the last time: the service stops."""
        self.closed = True
        self._wake()

    async def wait(self, after: int, timeout_s: float) -> bool:
        """Return whether there is an event after `after`, waiting at most `timeout_s` seconds for it."""
        if self.latest <= after and not self.closed:
            try:
                await asyncio.wait_for(self._changed.wait(), timeout_s)
            except TimeoutError:
                return False
        return self.latest > after

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
