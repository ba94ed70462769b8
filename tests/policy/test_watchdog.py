"""Signs of life: silence is noticed, a busy or a late process is not silent, and a hung worker is killed."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from policy import watchdog
from policy.errors import RunnerFailed
from policy.runners.base import RunnerOptions, SamplingSettings, TokenDelta
from policy.runners.process import RunnerProcess, WorkerProcess
from policy.watchdog import Beats, Watchdog
from tests.policy.conftest import source_of


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it does not hold after 60 s"
        time.sleep(0.01)


def test_silence_is_noticed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "BEAT_S", 0.02)
    beats_in, beats_out = os.pipe()
    silences: list[int] = []
    Watchdog(beats_in, 0.1, lambda: silences.append(1))
    wait_for(lambda: bool(silences))
    time.sleep(0.1)
    assert silences == [1]
    os.close(beats_out)


def test_a_process_that_ended_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "BEAT_S", 0.02)
    beats_in, beats_out = os.pipe()
    Watchdog(beats_in, 0.1, lambda: pytest.fail("it ended, which others notice"))
    os.close(beats_out)
    wait_for(lambda: not any(thread.name == "watchdog" for thread in threading.enumerate()))


def test_a_stuck_step_ends_the_beats_and_its_end_brings_them_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "BEAT_S", 0.02)
    beats_in, beats_out = os.pipe()
    os.set_blocking(beats_in, False)
    beats = Beats(beats_out, step_s=0.05)

    def beats_come() -> bool:
        try:
            return bool(os.read(beats_in, 4096))
        except BlockingIOError:
            return False

    wait_for(beats_come)
    with beats.step():
        wait_for(beats.is_stuck)
        time.sleep(0.05)  # a beat that was under way
        beats_come()
        time.sleep(0.1)
        assert not beats_come()
    wait_for(beats_come)
    os.close(beats_in)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system tells no CPU time")
def test_a_process_that_computes_without_a_beat_is_not_silent_until_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of OpenVINO holds Python's lock: a long prompt on a slow CPU keeps its process from beating."""
    monkeypatch.setattr(watchdog, "BEAT_S", 0.02)
    beats_in, beats_out = os.pipe()
    cpu_s = iter(range(10**6))
    monkeypatch.setattr(watchdog, "cpu_seconds", lambda pid: float(next(cpu_s)))
    silences: list[int] = []
    watching = Watchdog(beats_in, 0.1, lambda: silences.append(1), os.getpid())
    while next(cpu_s) < 20:  # it looked again and again
        assert not silences
        time.sleep(0.1)
    watching.busy_limit_s = 0.1
    wait_for(lambda: bool(silences))
    os.close(beats_out)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system tells no CPU time")
def test_cpu_time_is_that_of_all_threads() -> None:
    before_s = watchdog.cpu_seconds(os.getpid())
    wait_for(lambda: sum(range(10**6)) > 0 and watchdog.cpu_seconds(os.getpid()) > before_s)
    assert watchdog.cpu_seconds(2**31 - 1) == 0.0


def test_a_full_pipe_does_not_stop_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spare worker waits for days, and nobody may read its beats."""
    monkeypatch.setattr(watchdog, "BEAT_S", 0.001)
    beats_in, beats_out = os.pipe()
    os.set_blocking(beats_out, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(beats_out, b"." * 4096)
    Beats(beats_out)
    silences: list[int] = []
    watching = Watchdog(beats_in, 5.0, lambda: silences.append(1))
    time.sleep(0.2)
    assert not silences
    assert any(thread.name == "beats" for thread in threading.enumerate())
    watching.close()


@pytest.mark.fire
def test_a_stopped_worker_is_killed_and_its_generations_end_with_the_reason(
    models: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = RunnerOptions(threads=1, kinds=("openvino",), hang_s=2.0)
    runner = RunnerProcess.load(source_of(models("llama"), tmp_path), options)
    reasons: list[str] = []
    runner.on_exit = reasons.append
    pid, deltas = runner.stats()["pid"], list[TokenDelta]()
    os.kill(pid, signal.SIGSTOP)
    runner.submit("open", [1, 4, 60, 5], SamplingSettings(max_tokens=8), deltas.append)
    with pytest.raises(RunnerFailed, match="no sign of life for 2 s and was killed"):
        runner.score([([1], [2])])
    wait_for(lambda: bool(reasons))
    assert [delta.finish for delta in deltas] == ["error"]
    assert "no sign of life for 2 s and was killed" in deltas[0].error
    assert f"the worker process {pid} gave no sign of life" in caplog.text
    assert not Path(f"/proc/{pid}").exists()
    runner.close()


@pytest.mark.fire
def test_a_worker_that_stops_while_it_loads_is_killed(models: Callable[[str], Path], tmp_path: Path) -> None:
    spare = WorkerProcess(("openvino",), hang_s=2.0)
    os.kill(spare.process.pid, signal.SIGSTOP)
    with pytest.raises(RunnerFailed, match="the worker of version 0 gave no sign of life for 2 s"):
        RunnerProcess.load(source_of(models("llama"), tmp_path), RunnerOptions(kinds=("openvino",)), spare=spare)


@pytest.mark.fire
@pytest.mark.parametrize(
    "work",
    [
        "until = time.monotonic() + 3.5\nwhile time.monotonic() < until: pass",
        "sum(range(4 * 10**8))",  # one call that holds Python's lock for seconds, as a step of OpenVINO does
    ],
)
def test_a_busy_worker_is_not_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str) -> None:
    done = tmp_path / "done"
    busy = f"import pathlib, time\n{work}\npathlib.Path({str(done)!r}).touch()\nraise ImportError('done')\n"
    (tmp_path / "openvino_genai.py").write_text(busy)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    worker = WorkerProcess(("openvino",), hang_s=2.0)
    try:
        while not done.exists():
            assert not worker.pipe.poll(0.1)  # a worker that is killed closes its pipe
        assert (worker.process.poll(), worker.hung) == (None, "")
    finally:
        worker.end(10.0)


def test_a_worker_has_no_standard_input() -> None:
    worker = WorkerProcess(("transformers",))
    try:
        assert os.readlink(f"/proc/{worker.process.pid}/fd/0") == "/dev/null"
    finally:
        worker.end(0.1)


def test_a_stopped_worker_that_reads_no_more_is_ended_all_the_same() -> None:
    worker = WorkerProcess(("transformers",))
    os.kill(worker.process.pid, signal.SIGSTOP)
    os.set_blocking(worker.pipe.fileno(), False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(worker.pipe.fileno(), bytes(4096))
    os.set_blocking(worker.pipe.fileno(), True)
    worker.end(0.1)
    assert worker.process.returncode == -signal.SIGKILL
