"""The learner's priority: it computes in the time that answers leave over, yet in a tenth of a core at least.

On Linux its threads run as SCHED_IDLE and are raised step by step only while they wait for a CPU and get less than
that. Threads that merely tell how the learner is (heartbeat, watchdog) keep the usual priority. See sched(7); where
the system groups processes by session ("autogroup"), niceness counts within a session alone, so that the session's own
is set too.
"""

import contextlib
import os
import threading
import time
from collections.abc import Generator
from pathlib import Path

from sqlite_utils import Database

from policy.watchdog import cpu_seconds
from store.database import transaction

LEAST = 0.1  # cores
ENOUGH = 2 * LEAST  # cores: with more, the priority is lowered again
WINDOW_S = 1.0  # between two looks at the CPU time
SAMPLES = 5  # of whether threads are ready, in each window
IDLE = 0.5  # share of the samples: a process that is ready less often has little to do
LADDER = (19, 16, 13, 11, 9, 7, 5, 3, 1)  # niceness, a factor of about 1.6 each; the first one as SCHED_IDLE
UNPRIVILEGED = 10  # niceness where the system lets nobody raise it: a tenth of a core beside a usual thread
PROC = Path("/proc")


class Priority:
    """The priority of this process's computing threads: the calling thread and those that it makes from now on.

    Processes that it starts, such as a sampler's runner, follow it. `niceness` sets it once and for all. None lets it
    follow the CPU time that they all get.
    """

    def __init__(self, niceness: int | None = None) -> None:
        self._usual = {thread.native_id for thread in threading.enumerate()} - {threading.get_native_id()}
        self._can_raise = niceness is None and can_raise()
        self._niceness = niceness
        self.rung = 0
        """Where on LADDER it is."""
        if not self._can_raise:
            _set(threading.get_native_id(), UNPRIVILEGED if niceness is None else niceness, is_idle=False)
        self.climb(0)
        threading.Thread(target=self._follow, name="learner-priority", daemon=True).start()

    def climb(self, rung: int) -> None:
        """Give every computing thread the priority of a rung of LADDER; those that may not be raised stay."""
        self.rung = rung
        for pid in family():
            _set_session(pid, LADDER[rung] if self._niceness is None else self._niceness)
            if self._can_raise:
                for thread in self._computing(pid):
                    _set(thread, LADDER[rung], is_idle=rung == 0)

    def keep_usual(self) -> None:
        """Give the calling thread the usual priority, where the system allows it. It computes little."""
        if self._can_raise:
            self._usual.add(threading.get_native_id())
            _set(threading.get_native_id(), 0, is_idle=False)

    @contextlib.contextmanager
    def urgent(self) -> Generator[None, None, None]:
        """Give the calling thread the usual priority for a moment in which others wait for it: it locks the store."""
        thread = threading.get_native_id()
        was_usual = thread in self._usual
        self.keep_usual()
        try:
            yield
        finally:
            if self._can_raise and not was_usual:
                self._usual.discard(thread)
                _set(thread, LADDER[self.rung], is_idle=self.rung == 0)

    def _computing(self, pid: int) -> list[int]:
        return [thread for thread in _threads(pid) if thread not in self._usual]

    def _follow(self) -> None:
        self.keep_usual()
        at, cpu_s = time.monotonic(), sum(map(cpu_seconds, family()))
        while True:
            ready = 0
            for _ in range(SAMPLES):
                time.sleep(WINDOW_S / SAMPLES)
                ready += self._is_ready()
            now, now_cpu_s = time.monotonic(), sum(map(cpu_seconds, family()))
            if self._niceness is None:
                rung = next_rung(self.rung, (now_cpu_s - cpu_s) / (now - at), ready / SAMPLES)
            else:
                rung = 0
            self.climb(rung)  # also without a change: there may be new threads and processes
            at, cpu_s = now, now_cpu_s

    def _is_ready(self) -> bool:
        """Whether a computing thread runs or waits for a CPU. See proc(5); it counts waiting only once it is over."""
        for pid in family():
            for thread in self._computing(pid):
                with contextlib.suppress(OSError, IndexError):
                    if (PROC / str(pid) / "task" / str(thread) / "stat").read_text().rpartition(")")[2].split()[
                        0
                    ] == "R":
                        return True
        return False


def family() -> list[int]:
    """Return the ids of this process and of those that it has started, where the system tells them (Linux)."""
    found, at = [os.getpid()], 0
    while at < len(found):
        for thread in _threads(found[at]):
            with contextlib.suppress(OSError, ValueError):
                found += map(int, (PROC / str(found[at]) / "task" / str(thread) / "children").read_text().split())
        at += 1
    return found


def _threads(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(PROC / str(pid) / "task")]
    except OSError:
        return []


def _set_session(pid: int, niceness: int) -> None:
    """Set the niceness of the group of a session. Only its leader's counts: who shares a session leaves it alone."""
    with contextlib.suppress(OSError, AttributeError):
        path = PROC / str(pid) / "autogroup"
        # it is read first, since the system takes few writes of those without rights
        if os.getsid(pid) == pid and path.read_text().split()[-1] != str(niceness):
            path.write_text(str(niceness))


_in_force: Priority | None = None


def yield_to_answers(niceness: int | None) -> None:
    """Set the priority of this process, as `Priority` has it. Call it before a library makes threads."""
    global _in_force
    _in_force = Priority(niceness)


def keep_usual() -> None:
    """See Priority; nothing where no priority was set."""
    if _in_force is not None:
        _in_force.keep_usual()


@contextlib.contextmanager
def prompt_transaction(db: Database) -> Generator[None, None, None]:
    """A transaction at the usual priority: the service waits for its lock."""
    with _in_force.urgent() if _in_force is not None else contextlib.nullcontext(), transaction(db):
        yield


def next_rung(rung: int, cores: float, ready: float) -> int:
    """Return the next rung of LADDER for a process that got `cores` and was ready to compute a share of the time.

    It climbs while it could compute and gets less than LEAST, and comes down once it has ENOUGH or nothing to do.
    """
    is_ready = ready > IDLE
    if is_ready and cores < LEAST:
        return min(rung + (1 if cores > LEAST / 4 else 2), len(LADDER) - 1)
    if cores > ENOUGH or not is_ready:
        return max(rung - 1, 0)
    return rung


def can_raise() -> bool:
    """Whether this process may raise the priority of its threads again (it has CAP_SYS_NICE or RLIMIT_NICE)."""
    if not hasattr(os, "SCHED_IDLE"):
        return False
    found: list[bool] = []

    def attempt() -> None:
        thread = threading.get_native_id()
        found.append(_set(thread, LADDER[0], is_idle=True) and _set(thread, 0, is_idle=False))

    attempting = threading.Thread(target=attempt)
    attempting.start()
    attempting.join()
    return found == [True]


def num_threads(asked: int) -> int:
    """Return how many threads to compute with: `asked`, 0 for half of the CPUs that the process may use."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return asked or max(1, cpus // 2)


def _set(thread: int, niceness: int, *, is_idle: bool) -> bool:
    """Set a thread's policy and niceness; return whether the system allowed it. A thread that is gone counts as set."""
    try:
        if hasattr(os, "SCHED_IDLE"):
            # a thread of SCHED_BATCH takes the CPU from nobody when it wakes up
            policy = os.SCHED_IDLE if is_idle else os.SCHED_BATCH if niceness else os.SCHED_OTHER
            os.sched_setscheduler(thread, policy, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, thread, niceness)
        elif thread == threading.get_native_id():
            os.setpriority(os.PRIO_PROCESS, 0, niceness)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return True
