"""The learner's process: started, restarted when it dies, ended with the service."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from service import learner_child
from service.errors import CannotStart
from service.learner_child import LearnerChild, check_learner, learner_command
from tests.served import ROOT
from tests.service.running import serve_settings, wait_until


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_it_is_restarted_and_its_output_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(learner_child, "WAITS_S", (0.05,))
    starts: list[float] = []

    async def run() -> int:
        child = LearnerChild(
            [sys.executable, "-c", "print('hello', flush=True); raise SystemExit(3)"], tmp_path / "logs" / "learner.log"
        )
        child.start(lambda: starts.append(time.monotonic()))
        while len(starts) < 3:
            await asyncio.sleep(0.02)
        await child.stop()
        assert child.process is not None
        return child.process.pid

    pid = asyncio.run(run())
    assert not is_alive(pid)
    assert (tmp_path / "logs" / "learner.log").read_text().count("hello") >= 2
    assert "the learner ended (status 3); it starts again in 0.05 s" in capfd.readouterr().err


def test_stop_asks_first_and_then_makes_it_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner_child, "END_LIMIT_S", 0.3)
    code = textwrap.dedent("""
        import signal, time
        signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True))
        print('up', flush=True)
        time.sleep(60)
    """)

    async def run() -> None:
        child = LearnerChild([sys.executable, "-c", code], tmp_path / "learner.log")
        child.start(lambda: None)
        while "up" not in (tmp_path / "learner.log").read_text() if (tmp_path / "learner.log").exists() else True:
            await asyncio.sleep(0.02)
        await child.stop()
        assert child.process is not None
        assert child.process.returncode in (0, -signal.SIGKILL)

    asyncio.run(run())
    assert "asked" in (tmp_path / "learner.log").read_text()


def test_it_dies_with_the_service_even_by_kill_9(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import asyncio, sys
        from pathlib import Path
        from service.learner_child import LearnerChild
        async def run():
            command = [sys.executable, "-c", "import time; time.sleep(60)"]
            child = LearnerChild(command, Path({str(tmp_path / "learner.log")!r}))
            child.start(lambda: None)
            while child.process is None:
                await asyncio.sleep(0.01)
            print(child.process.pid, flush=True)
            await asyncio.sleep(60)
        asyncio.run(run())
    """)
    service = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert service.stdout is not None
    learner = int(service.stdout.readline())
    assert is_alive(learner)
    os.kill(service.pid, signal.SIGKILL)
    service.wait()
    wait_until(lambda: not is_alive(learner), 5, "the learner is gone")


def test_a_setting_that_the_learner_refuses_is_one_line(tmp_path: Path) -> None:
    settings = serve_settings(data=tmp_path, model="pocket-nano")
    check_learner(learner_command(settings, ["--gate.holdout", "0.2"]))
    with pytest.raises(CannotStart, match="^the learner cannot start: --learner.gate.holdout cannot be '2': .*0.5$"):
        check_learner(learner_command(settings, ["--gate.holdout", "2"]))
    with pytest.raises(CannotStart, match="--learner.learning-rate is .*it is --learner.optimizer.learning-rate"):
        check_learner(learner_command(settings, ["--learning-rate", "1"]))
    config = tmp_path / "attune.toml"
    config.write_text('[learner]\ndevice = "tpu"\n')
    with pytest.raises(CannotStart, match="learner.device in .* cannot be 'tpu'"):
        check_learner(learner_command(serve_settings(data=tmp_path, model="pocket-nano", config=config)))
