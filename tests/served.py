"""A real `attune serve` in a process of its own, on a free port and its own data folder, for tests from outside."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@dataclass
class Served:
    """One running service."""

    process: subprocess.Popen[bytes]
    url: str
    data: Path
    log: Path

    def kill(self) -> None:
        """End it by SIGKILL, without any clean-up."""
        self.process.kill()
        self.process.wait(10)


def start(data: Path, *flags: str, model: str = "pocket-nano", port: int | None = None, wait_s: float = 90.0) -> Served:
    """Start `attune serve` and wait until it is ready. Raises AssertionError with its output when it is not."""
    port = port or free_port()
    data.mkdir(parents=True, exist_ok=True)
    log = data.parent / f"serve-{port}.log"
    attune = str(Path(sys.executable).parent / "attune")
    command = [attune, "serve", "--host", "127.0.0.1", "--port", str(port), "--data", str(data), "--model", model]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
    with log.open("ab") as out:
        process = subprocess.Popen([*command, *flags], stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env=environment)
    served = Served(process, f"http://127.0.0.1:{port}", data, log)
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        assert process.poll() is None, f"attune serve ended with status {process.returncode}:\n{log.read_text()}"
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(served.url + "/readyz", timeout=2).status_code == 200:
                return served
        time.sleep(0.05)
    served.kill()
    raise AssertionError(f"attune serve was not ready within {wait_s} s:\n{log.read_text()}")


@contextlib.contextmanager
def serve(
    data: Path, *flags: str, model: str = "pocket-nano", port: int | None = None
) -> Generator[Served, None, None]:
    """A running service for the length of a with-block, ended as Ctrl-C would."""
    served = start(data, *flags, model=model, port=port)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.process.send_signal(signal.SIGINT)
            try:
                served.process.wait(40)
            except subprocess.TimeoutExpired:
                served.kill()
