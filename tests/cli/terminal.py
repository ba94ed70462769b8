"""A pseudo-terminal that runs the command, as for a person at a keyboard."""

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]|\r")


class Terminal:
    """Types lines and waits for output."""

    def __init__(self, *arguments: str, home: Path, url: str, term: str = "xterm-256color") -> None:
        self._master, slave = pty.openpty()
        environment = {
            **os.environ,
            "TERM": term,
            "ATTUNE_BASE_URL": url,
            "XDG_STATE_HOME": str(home / "state"),
            "COLUMNS": "100",
            "LINES": "30",
        }
        command = [sys.executable, "-m", "attune", *arguments]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True, cwd=home
        )
        os.close(slave)
        self._raw = b""
        self._position = 0

    @property
    def shown(self) -> str:
        """All output so far, without escape sequences."""
        return ESCAPES.sub("", self._raw.decode("utf-8", "replace"))

    def expect(self, text: str, wait_s: float = 60.0) -> str:
        """Wait for `text` after the last expected text; return the output between them."""
        deadline = time.monotonic() + wait_s
        while (found := self.shown.find(text, self._position)) < 0:
            assert time.monotonic() < deadline, (
                f"{text!r} was not shown; after the last expected text came {self.shown[self._position :]!r}"
            )
            self._read(0.1)
        between = self.shown[self._position : found]
        self._position = found + len(text)
        return between

    def type(self, line: str) -> None:
        """Type a line and press Enter."""
        os.write(self._master, line.encode() + b"\n")

    def rest(self, wait_s: float = 60.0) -> None:
        """Wait until the command sleeps: between the prompt and the sleep, input() does not see a signal."""
        deadline = time.monotonic() + wait_s
        while (state := Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]) != "S":
            assert time.monotonic() < deadline, f"it never sleeps, but is in state {state}"
            time.sleep(0.01)

    def press(self, control: str) -> None:
        """Press Ctrl and a letter. Ctrl-C is a signal to the command, as from a terminal's driver."""
        if control == "c":
            os.killpg(self.process.pid, signal.SIGINT)
        else:
            os.write(self._master, bytes([ord(control) - ord("a") + 1]))

    def status(self, wait_s: float = 60.0) -> int:
        """Wait for the command to end; return the exit status."""
        deadline = time.monotonic() + wait_s
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"still running; shown: {self.shown!r}"
            self._read(0.05)
        self._read(0.05)
        return int(self.process.returncode)

    def _read(self, wait_s: float) -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            if select.select([self._master], [], [], wait_s)[0]:
                self._raw += os.read(self._master, 65536)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        os.close(self._master)


@contextlib.contextmanager
def terminal(*arguments: str, home: Path, url: str, term: str = "xterm-256color") -> Generator[Terminal, None, None]:
    """Run a command for the length of a with-block."""
    opened = Terminal(*arguments, home=home, url=url, term=term)
    try:
        yield opened
    finally:
        opened.close()
