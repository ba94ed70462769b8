"""A real `attune serve`: a stopped learner and a stopped worker are replaced, and nobody else works on its folder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from store.database import connect
from tests.flow.test_start import MODEL, attune
from tests.served import serve, start

pytestmark = pytest.mark.fire
QUESTION = {"model": "attune", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 4}


def child_of(service: int, part: str) -> int:
    """Return the process of the service whose command line has `part`, 0 without one."""
    for child in psutil.Process(service).children():
        if part in child.cmdline():
            return child.pid
    return 0


def until(holds: Callable[[], object], wait_s: float = 120.0) -> None:
    deadline = time.monotonic() + wait_s
    while not holds():
        assert time.monotonic() < deadline, f"it does not hold after {wait_s} s"
        time.sleep(0.1)


def test_a_stopped_learner_and_a_stopped_worker_are_replaced(tmp_path: Path) -> None:
    flags = ("--limits.learner-hang-s", "5", "--limits.hang-s", "5")
    with serve(tmp_path / "data", *flags, model=MODEL) as served, httpx.Client(base_url=served.url, timeout=60) as http:
        until(lambda: http.get("/v1/learner").json()["state"] == "idle")
        learner = child_of(served.process.pid, "learner")
        os.kill(learner, signal.SIGSTOP)
        until(lambda: child_of(served.process.pid, "learner") not in (0, learner))
        until(lambda: http.get("/v1/learner").json()["state"] == "idle")
        for worker in psutil.Process(served.process.pid).children():
            if "policy.runners.worker" in worker.cmdline():
                os.kill(worker.pid, signal.SIGSTOP)  # the spare one too
        assert http.post("/v1/chat/completions", json=QUESTION).status_code >= 500
        until(lambda: http.post("/v1/chat/completions", json=QUESTION).status_code == 200)
        numbers = http.get("/metrics").text
        assert "attune_learner_hangs_total 1.0" in numbers
        assert "attune_slot_failures_total 1.0" in numbers
    kinds = [row[0] for row in connect(tmp_path / "data").execute("SELECT kind FROM events").fetchall()]
    assert kinds.count("learner.hung") == 1
    assert "gave no sign of life" in served.log.read_text()


def test_nobody_else_works_on_its_folder_until_it_is_killed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    served = start(data, model=MODEL)
    try:
        until(lambda: httpx.get(served.url + "/v1/learner").json()["state"] == "idle")
        second = attune(["serve", "--data", str(data), "--model", MODEL, "--port", "0"])
        assert second.returncode == 1
        assert f"process {served.process.pid} (attune serve" in second.stderr
        learner = child_of(served.process.pid, "learner")
        command = [sys.executable, "-m", "learner", "--data", str(data), "--model", MODEL]
        other = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert f"process {learner} (python -m learner" in other.stderr
        for folder in (["doctor", "--data", str(data), "--model", MODEL], ["keys", "list", "--data", str(data)]):
            assert "another" not in attune(folder).stderr
        assert (data.stat().st_mode & 0o777, (data / "attune.db").stat().st_mode & 0o777) == (0o700, 0o600)
    finally:
        served.kill()
    again = start(data, model=MODEL)  # at once after SIGKILL, while the old learner may still end
    try:
        until(lambda: httpx.get(again.url + "/v1/learner").json()["state"] == "idle")
    finally:
        again.kill()
