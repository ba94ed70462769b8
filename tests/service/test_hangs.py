"""A hung process is noticed and replaced: a version's worker, and the learner."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from policy.errors import RunnerFailed
from policy.runners.base import SamplingSettings, TokenDelta
from service.engine.router import Router
from service.engine.slot_pool import EngineLimits, Loaded, SlotPool
from service.engine.slots import EventLoopMailbox, Slot
from service.learner_child import LearnerChild
from service.model import LocalModel
from service.settings import ServeSettings
from store.versions import Version
from tests.models import tiny_model
from tests.service.running import running, wait_until

BEATING = """
import sys, time
from policy.watchdog import Beats
Beats(int(sys.argv[sys.argv.index("--beats-fd") + 1]))
time.sleep(120)
"""


def test_a_stopped_worker_costs_one_answer_and_the_next_one_is_answered(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    settings = {"model": str(folder), "limits__hang_s": 4.0, "engine__threads": 1}
    with running(tmp_path / "data", make_model=LocalModel, **settings) as served:
        (slot,) = served.service.engine.slots.values()
        pid = slot.runner.stats()["pid"]
        os.kill(pid, signal.SIGSTOP)
        question = {"model": "attune", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 4}
        answer = served.http.post("/v1/chat/completions", json=question)
        assert answer.status_code in (500, 502, 503)
        assert "no sign of life for 4 s" in answer.json()["error"]["message"]
        assert served.chat(max_tokens=4)["model"] == "attune@0"
        assert not Path(f"/proc/{pid}").exists()
        assert "attune_slot_failures_total 1.0" in served.http.get("/metrics").text
        with served.db() as db:
            (event,) = [row["data"] for row in db.query("SELECT data FROM events WHERE kind = 'slot.failed'")]
        assert "no sign of life" in event
        served.service._record_learner_hang("the learner gave no sign of life for 4 s and was killed")
        assert "attune_learner_hangs_total 1.0" in served.http.get("/metrics").text
        with served.db() as db:
            assert db.table("events").count_where("kind = 'learner.hung'") == 1


def test_answers_are_cut_at_once_though_their_runner_hangs() -> None:
    """At the service's end, and where a version is withdrawn."""
    asked: list[str] = []
    runner = SimpleNamespace(submit=lambda *_: None, cancel=asked.append)
    slot = Slot(1, "", runner, EventLoopMailbox(asyncio.new_event_loop()))  # type: ignore[arg-type]
    lease, got = slot.lease(lambda: None), list[TokenDelta]()
    for name in ("a", "b"):
        lease.submit(name, [1], SamplingSettings(), got.append)
    lease.cut("the service is stopping")
    assert [(delta.request_id, delta.finish) for delta in got] == [("a", "cancelled"), ("b", "cancelled")]
    assert (lease.cut_reason, asked) == ("the service is stopping", ["a", "b"])
    lease.cut("again")
    lease.end()
    assert (len(got), len(asked), slot.is_idle) == (2, 2, True)


def test_a_version_is_brought_back_however_often_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it nobody would ask for it: a load balancer sends nothing to a service that is not ready."""
    monkeypatch.setattr("service.engine.slot_pool.RELOAD_WAITS_S", (0.0, 0.01))
    tries: list[int] = []

    def load(number: int) -> Loaded:
        tries.append(number)
        if 1 < len(tries) < 8:
            raise RuntimeError("the memory does not suffice")
        return Loaded("", SimpleNamespace(kind="fake", close=lambda: None))  # type: ignore[arg-type]

    async def run() -> None:
        pool = SlotPool(load, EngineLimits(4, 300.0, 1.0), lambda *_: None)
        await pool.load(0)
        pool.follow(Router(0, None, 0.0))
        hung = pool.slots[0]
        assert hung.runner.on_exit is not None
        hung.runner.on_exit("it gave no sign of life")
        while not pool.is_ready or pool.slots[0] is hung:
            await asyncio.sleep(0.01)
        await pool.close()

    asyncio.run(asyncio.wait_for(run(), 60))
    assert len(tries) == 8


def test_a_worker_that_hangs_while_it_loads_ends_with_the_model(tmp_path: Path) -> None:
    """Stopped or in a library that holds Python's lock, it would not notice that its service is gone."""
    folder = tiny_model(tmp_path / "model")
    settings = ServeSettings(data=tmp_path, model=str(folder))
    model = LocalModel(settings)
    assert model._spare is not None
    pid = model._spare.process.pid
    os.kill(pid, signal.SIGSTOP)
    base = Version(
        number=0, parent=None, state="live", digest="d", folder="", watermark=0, algorithm="base", created_at=""
    )
    with ThreadPoolExecutor(1) as threads:
        loading = threads.submit(model.load, base)
        wait_until(lambda: model._spare is None and len(model._workers) == 1, 10, "it loads")
        model.close()
        with pytest.raises(RunnerFailed, match="ended while loading"):
            loading.result(30)
    assert not Path(f"/proc/{pid}").exists()


def test_a_stopped_learner_is_killed_and_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.learner_child.WAITS_S", (0.05,))
    starts, reasons = list[int](), list[str]()

    async def run() -> None:
        child = LearnerChild([sys.executable, "-c", BEATING], tmp_path / "learner.log", hang_s=4.0)
        child.start(lambda: starts.append(child.process.pid if child.process else 0), reasons.append)
        while not starts:
            await asyncio.sleep(0.02)
        os.kill(starts[0], signal.SIGSTOP)
        while len(starts) < 2:
            await asyncio.sleep(0.02)
        await child.stop()

    asyncio.run(asyncio.wait_for(run(), 60))
    assert reasons == ["the learner gave no sign of life for 4 s and was killed"]
    assert not Path(f"/proc/{starts[0]}").exists()
    wait_until(lambda: not any(thread.name == "watchdog" for thread in threading.enumerate()), 10, "nobody watches")


@pytest.mark.fire
def test_the_real_learner_beats(tmp_path: Path) -> None:
    """Also while it imports torch and loads its model, and it takes no part of the pipe for a setting."""
    starts, reasons = list[int](), list[str]()

    async def run() -> None:
        command = [sys.executable, "-m", "learner", "--data", str(tmp_path), "--model", str(tmp_path / "model")]
        child = LearnerChild(command, tmp_path / "learner.log", hang_s=20.0)
        child.start(lambda: starts.append(1), reasons.append)
        while not _has_reported(tmp_path) and len(starts) < 2:
            await asyncio.sleep(0.05)
        await child.stop()

    tiny_model(tmp_path / "model")
    asyncio.run(asyncio.wait_for(run(), 120))
    assert (starts, reasons) == ([1], []), (tmp_path / "learner.log").read_text()


def _has_reported(data: Path) -> bool:
    """Whether the learner got past its imports."""
    try:
        with contextlib.closing(sqlite3.connect(data / "attune.db")) as db:
            return db.execute("SELECT heartbeat_at FROM learner_status").fetchone()[0] is not None
    except sqlite3.Error:
        return False
