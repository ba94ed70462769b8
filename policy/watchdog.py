"""Signs of life of a child process: it writes a byte at each beat into a pipe, and its parent notices a silence."""

import contextlib
import logging
import math
import os
import select
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

log = logging.getLogger(__name__)
BEAT_S = 0.5  # between two beats
HANG_S = 60.0  # without a beat a process counts as hung
STEP_S = 600.0  # a single step of a runner that takes longer counts as hung
COMPUTING = 0.01  # of the time without a beat: a process that takes more of a CPU is busy


class Beats:
    """The child's side: beats from a thread of its own, so that a process whose main thread is busy beats too.

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

    It counts the time that it was awake itself, so that a machine that stood still ends no process. Libraries that
    compute while they hold Python's lock keep their process from beating: a process (`pid`) that takes CPU time is not
    silent until `busy_limit_s` seconds without a beat. Where the system tells no CPU time, only beats count.
    """

    def __init__(self, descriptor: int, limit_s: float, silent: Callable[[], None], pid: int = 0) -> None:
        self.busy_limit_s = math.inf
        self._descriptor, self._limit_s, self._silent, self._pid = descriptor, limit_s, silent, pid
        self._closed = False
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def close(self) -> None:
        """Stop watching and close the pipe, within a beat."""
        self._closed = True

    def _watch(self) -> None:
        beats = select.poll()  # not select(): a busy service has more than 1024 descriptors
        beats.register(self._descriptor, select.POLLIN)
        silent_s, since_s, cpu_s = 0.0, 0.0, cpu_seconds(self._pid)
        try:
            while not self._closed:
                if beats.poll(BEAT_S * 1000):
                    if not os.read(self._descriptor, 4096):
                        return  # the process ended
                    silent_s, since_s, cpu_s = 0.0, 0.0, cpu_seconds(self._pid)
                    time.sleep(BEAT_S / 2)
                else:
                    silent_s += BEAT_S
                if silent_s - since_s < self._limit_s or self._closed:
                    continue
                now_s = cpu_seconds(self._pid)
                if now_s - cpu_s <= COMPUTING * self._limit_s or silent_s >= self.busy_limit_s:
                    self._silent()
                    return
                since_s, cpu_s = silent_s, now_s  # busy: look again after another `limit_s`
        finally:
            os.close(self._descriptor)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time in seconds that a process has taken, 0 where the system (not Linux) or nobody knows it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
