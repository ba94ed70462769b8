"""Signs of life of a child process: it writes a byte at each beat into a pipe, and its parent notices a silence."""

import contextlib
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Generator

log = logging.getLogger(__name__)
BEAT_S = 0.5  # between two beats
HANG_S = 60.0  # without a beat a process counts as hung
STEP_S = 600.0  # a single step of a runner that takes longer counts as hung


class Beats:
    """The child's side: beats from a thread of its own, so that a busy process beats too.

    A step that takes longer than `step_s` seconds ends the beats until it is over; 0 means no limit.
    """

    def __init__(self, descriptor: int, step_s: float = 0.0) -> None:
        self.step_s = step_s
        self._descriptor = descriptor
        self._began: float | None = None
        os.set_blocking(descriptor, False)
        threading.Thread(target=self._beat, name="beats", daemon=True).start()

    @contextlib.contextmanager
    def step(self) -> Generator[None, None, None]:
        """Hold a with-block to `step_s`."""
        self._began = time.monotonic()
        try:
            yield
        finally:
            self._began = None

    def is_stuck(self) -> bool:
        """Whether the step under way takes too long."""
        began = self._began
        return bool(self.step_s) and began is not None and time.monotonic() - began > self.step_s

    def _beat(self) -> None:
        while True:
            if not self.is_stuck():
                try:
                    os.write(self._descriptor, b".")
                except BlockingIOError:
                    pass  # the parent reads late; it finds older beats
                except OSError:
                    return  # the parent is gone
            time.sleep(BEAT_S)


class Watchdog:
    """The parent's side: calls `silent()` on a thread of its own after `limit_s` seconds without a beat, once.

    It counts the time that it was awake itself, so that a machine that stood still ends no process.
    """

    def __init__(self, descriptor: int, limit_s: float, silent: Callable[[], None]) -> None:
        self._descriptor, self._limit_s, self._silent = descriptor, limit_s, silent
        self._closed = False
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def close(self) -> None:
        """Stop watching and close the pipe, within a beat."""
        self._closed = True

    def _watch(self) -> None:
        beats = select.poll()  # not select(): a busy service has more than 1024 descriptors
        beats.register(self._descriptor, select.POLLIN)
        silent_s = 0.0
        try:
            while not self._closed:
                if beats.poll(BEAT_S * 1000):
                    if not os.read(self._descriptor, 4096):
                        return  # the process ended
                    silent_s = 0.0
                    time.sleep(BEAT_S / 2)
                else:
                    silent_s += BEAT_S
                if silent_s >= self._limit_s and not self._closed:
                    self._silent()
                    return
        finally:
            os.close(self._descriptor)
