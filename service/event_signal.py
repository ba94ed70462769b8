"""Tells those who follow the event stream that there is something new, so that they need not each poll the store."""

import asyncio


class EventSignal:
    """The newest event's sequence number, and a bell that rings when it grows."""

    def __init__(self) -> None:
        self.latest = 0
        self.closed = False
        self._bell = asyncio.Event()

    def publish(self, seq: int) -> None:
        """Wake all who wait for something after an older number."""
        if seq > self.latest:
            self.latest = seq
            self._ring()

    def close(self) -> None:
        """Wake everybody for the last time: the service stops."""
        self.closed = True
        self._ring()

    async def wait(self, after: int, timeout_s: float) -> bool:
        """Return whether there is something after `after`, waiting at most `timeout_s` for it."""
        if self.latest <= after and not self.closed:
            try:
                await asyncio.wait_for(self._bell.wait(), timeout_s)
            except TimeoutError:
                return False
        return self.latest > after

    def _ring(self) -> None:
        self._bell.set()
        self._bell = asyncio.Event()
