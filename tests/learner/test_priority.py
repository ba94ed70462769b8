"""The learner's priority: what it sets, when it rises, and who keeps the usual one."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from learner import priority
from learner.priority import LADDER, LEAST, Priority, can_raise, next_rung, num_threads

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="niceness of threads is Linux's")
TOP = len(LADDER) - 1

# Prints the policy and niceness of the main thread, of a thread made by it, and of one that keeps the usual priority.
SHOW = """
import json, os, sys, threading
from learner import priority

def seen():
    thread = threading.get_native_id()
    found.append([os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread)])

def kept():
    priority.keep_usual()
    seen()

found = []
priority.yield_to_answers({niceness})
if {rung}:
    priority._in_force.climb({rung})
seen()
for work in (seen, kept):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
with priority._in_force.urgent():
    seen()
seen()
group = open("/proc/self/autogroup").read().split()[-1] if os.path.exists("/proc/self/autogroup") else None
print(json.dumps([found, group]))
"""


# Prints the same of a process that it has started.
CHILD = """
import json, os, subprocess
from pathlib import Path
from learner import priority

child = subprocess.Popen(["sleep", "60"], start_new_session=True)
priority.yield_to_answers({niceness})
priority._in_force.climb({rung})
seen = [[os.sched_getscheduler(child.pid), os.getpriority(os.PRIO_PROCESS, child.pid)]]
path = Path("/proc") / str(child.pid) / "autogroup"
print(json.dumps([seen, path.read_text().split()[-1] if path.exists() else None]))
child.kill()
"""


def shown(
    niceness: int | None, rung: int = 0, before: str = "", body: str = SHOW
) -> tuple[list[list[int]], str | None]:
    """Return what `body` prints, in a session of its own."""
    code = before + body.format(niceness=niceness, rung=rung)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, start_new_session=True
    )
    found: tuple[list[list[int]], str | None] = json.loads(done.stdout)
    return found


def test_it_climbs_while_it_could_compute_and_gets_less_than_its_least() -> None:
    assert next_rung(0, LEAST * 0.9, 1.0) == 1
    assert next_rung(0, LEAST / 10, 1.0) == 2
    assert next_rung(TOP, 0.0, 1.0) == TOP
    assert next_rung(3, LEAST * 1.5, 1.0) == 3


def test_it_comes_down_with_enough_and_without_work() -> None:
    assert next_rung(3, 1.0, 1.0) == 2
    assert next_rung(3, 0.0, 0.0) == 2
    assert next_rung(0, 1.0, 1.0) == 0


@linux
@pytest.mark.skipif(not can_raise(), reason="only with CAP_SYS_NICE or RLIMIT_NICE")
@pytest.mark.parametrize(("rung", "policy"), [(0, "SCHED_IDLE"), (4, "SCHED_BATCH")])
def test_computing_threads_are_lowered_and_others_not(rung: int, policy: str) -> None:
    found, group = shown(None, rung)
    low, usual = [getattr(os, policy), LADDER[rung]], [os.SCHED_OTHER, 0]
    assert found == [low, low, usual, usual, low]
    assert group in (None, str(LADDER[rung]))  # of the session; niceness counts within it alone


@linux
def test_where_nobody_may_be_raised_again_it_keeps_a_tenth_of_a_core() -> None:
    low = [os.SCHED_BATCH, priority.UNPRIVILEGED]
    refuse = "from learner import priority; priority.can_raise = lambda: False\n"
    assert shown(None, 0, refuse)[0] == [low] * 5


@linux
@pytest.mark.parametrize("niceness", [0, 7])
def test_a_niceness_that_is_set_stays(niceness: int) -> None:
    found, group = shown(niceness)
    assert {nice for _, nice in found} == {niceness}
    assert group in (None, str(niceness))


def test_a_session_is_set_by_its_leader_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("learner.priority.PROC", tmp_path)
    for pid, leader in ((7, 7), (8, 7)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "autogroup").write_text("/autogroup-3 nice 0\n")
        monkeypatch.setattr(os, "getsid", lambda _, leader=leader: leader)
        priority._set_session(pid, 12)
    assert [(tmp_path / pid / "autogroup").read_text() for pid in "78"] == ["12", "/autogroup-3 nice 0\n"]


@linux
@pytest.mark.skipif(not can_raise(), reason="only with CAP_SYS_NICE or RLIMIT_NICE")
def test_processes_that_it_starts_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a sampler's runner does, in a session of its own."""
    found, group = shown(None, 4, body=CHILD)
    assert found == [[os.SCHED_BATCH, LADDER[4]]]
    assert group in (None, str(LADDER[4]))


def test_it_rises_by_itself_while_its_threads_get_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rises = threading.Event()
    monkeypatch.setattr("learner.priority.WINDOW_S", 0.01)
    monkeypatch.setattr("learner.priority.LEAST", 1e9)  # cores: whatever it gets is too little
    monkeypatch.setattr("learner.priority.can_raise", lambda: True)
    monkeypatch.setattr("learner.priority._set", lambda *_, **__: True)
    monkeypatch.setattr("learner.priority._set_session", lambda *_: None)
    monkeypatch.setattr(Priority, "_is_ready", lambda _: True)
    climb = Priority.climb

    def climbing(self: Priority, rung: int) -> None:
        climb(self, rung)
        if rung == TOP:
            rises.set()
            threading.Event().wait()  # for ever: it would go on with the real functions after this test

    monkeypatch.setattr(Priority, "climb", climbing)
    Priority()
    assert rises.wait(20)


def test_threads_are_half_of_the_cpus_or_as_many_as_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for cpus, expected in ((1, 1), (2, 1), (4, 2), (7, 3)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cpus=cpus: set(range(cpus)), raising=False)
        assert (num_threads(0), num_threads(3)) == (expected, 3)
