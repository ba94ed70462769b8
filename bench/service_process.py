"""A service of this checkout in a process of its own, and the processes that it starts."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

PROC = Path("/proc")


@dataclass
class ServiceProcess:
    """One running service."""

    process: subprocess.Popen[bytes]
    url: str
    ready_s: float
    """Seconds from its start until /readyz answered 200."""

    @property
    def learner(self) -> int:
        """The process id of its learner. Raises LookupError while there is none."""
        for pid, command in self.processes().items():
            if "-m learner" in command and "--check" not in command:
                return pid
        raise LookupError("the service has no learner now")

    def processes(self) -> dict[int, str]:
        """Return the command lines of the service and of all processes below it, by id (Linux)."""
        found = {self.process.pid: "service"}
        for path in sorted(PROC.glob("[0-9]*"), key=lambda path: int(path.name)):
            with contextlib.suppress(OSError):
                if int((path / "stat").read_text().rpartition(")")[2].split()[1]) in found:
                    found[int(path.name)] = (path / "cmdline").read_text().replace("\0", " ").strip()
        return found


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process in seconds."""
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def running(
    data: Path, model: str, flags: Sequence[str] = (), wait_s: float = 600.0
) -> Generator[ServiceProcess, None, None]:
    """A service on a data folder and a free port, ended as Ctrl-C would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    attune = str(Path(sys.executable).parent / "attune")
    command = [attune, "serve", "--port", str(port), "--data", str(data), "--model", model, *flags]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=Path(__file__).parent.parent, env=environment, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(url + "/readyz", timeout=2).status_code == 200:
                    break
            if process.poll() is not None:
                raise SystemExit(f"the service ended with status {process.returncode}")
            if time.monotonic() - began > wait_s:
                raise SystemExit(f"the service was not ready within {wait_s:g} s")
            time.sleep(0.02)
        yield ServiceProcess(process, url, time.monotonic() - began)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
