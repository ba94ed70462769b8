"""The learner as a child process: started with the service, restarted when it dies, ended with the service."""

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from policy.watchdog import Watchdog
from service.errors import CannotStart
from service.settings import ServeSettings

log = logging.getLogger(__name__)
WAITS_S = (1.0, 2.0, 5.0, 15.0, 60.0)  # before each restart; after a minute of running the first one again
STEADY_S = 60.0
CHECK_LIMIT_S = 60.0
END_LIMIT_S = 10.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded now: between fork and exec this is unsafe


# of the service, passed to the learner
OWN_FLAGS = {"--data", "--model", "--chat-template", "--chat-template-kwargs", "--config"}


def learner_command(settings: ServeSettings, flags: Sequence[str] = ()) -> list[str]:
    """Return the command line of the learner for these settings; `flags` are settings of its own."""
    command = [
        sys.executable,
        "-m",
        "learner",
        "--data",
        str(settings.data),
        "--model",
        settings.model,
    ]
    if settings.chat_template is not None:
        command += ["--chat-template", settings.chat_template]
    if settings.chat_template_kwargs:
        command += ["--chat-template-kwargs", json.dumps(settings.chat_template_kwargs)]
    if settings.config is not None:
        command += ["--config", str(settings.config)]
    return [*command, *flags]


def check_learner(command: list[str]) -> None:
    """Have the learner check its settings. Raises CannotStart with the line that it printed."""
    try:
        done = subprocess.run(
            [*command, "--check"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CHECK_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        message = f"the learner did not check its settings within {CHECK_LIMIT_S:g} s"
        raise CannotStart(f"{message}; serve without it: --no-learner") from error
    if done.returncode != 0:
        output = done.stderr.strip() or done.stdout.strip() or f"it ended with status {done.returncode}"
        raise CannotStart(f"the learner cannot start: {_as_typed(output.splitlines()[-1], command)}")


def _as_typed(message: str, command: Sequence[str]) -> str:
    """Return the learner's message with its flags as people give them to `attune serve`: `--learner.PATH`."""
    passed_on = {part.partition("=")[0] for part in command if part.startswith("--")} - OWN_FLAGS
    if message.split(" ")[0] not in passed_on:
        return message
    return re.sub(r"(?<![\w-])--(?=[a-z])", "--learner.", message)


class LearnerChild:
    """Keeps one learner process running. `hang_s` without a sign of life ends it; 0: it gives none, as in tests."""

    def __init__(self, command: list[str], log_path: Path, hang_s: float = 0.0) -> None:
        self.command, self.log_path, self.hang_s = command, log_path, hang_s
        self.process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, started: Callable[[], None], hung: Callable[[str], None] = lambda _: None) -> None:
        """Start the process and restart it when it ends; `started` is called at each start.

        `hung` is called with the reason when a process without a sign of life is killed.
        """
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self._task = asyncio.create_task(self._supervise(started, hung), name="learner-child")

    async def stop(self) -> None:
        """End the process, by SIGTERM first and SIGKILL after END_LIMIT_S."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        process = self.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), END_LIMIT_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _supervise(self, started: Callable[[], None], hung: Callable[[str], None]) -> None:
        deaths = 0
        while True:
            began = time.monotonic()
            watchdog = await self._start_process(hung)
            started()
            assert self.process is not None
            status = await self.process.wait()
            if watchdog is not None:
                watchdog.close()
            deaths = deaths + 1 if time.monotonic() - began < STEADY_S else 1
            wait_s = WAITS_S[min(deaths, len(WAITS_S)) - 1]
            print(
                f"the learner ended ({_exit_reason(status)}); it starts again in {wait_s:g} s; see {self.log_path}",
                file=sys.stderr,
                flush=True,
            )
            await asyncio.sleep(wait_s)

    async def _start_process(self, hung: Callable[[str], None]) -> Watchdog | None:
        """Start the process and watch it; return its watchdog."""
        beats_in, beats_out = os.pipe()
        watched = ["--beats-fd", str(beats_out)] if self.hang_s else []
        try:
            with self.log_path.open("ab") as out:
                process = self.process = await asyncio.create_subprocess_exec(
                    *self.command,
                    *watched,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    pass_fds=[beats_out] if watched else [],
                    preexec_fn=_die_with_parent,
                    start_new_session=True,  # its niceness counts against other sessions: learner/priority.py
                )
        except BaseException:
            os.close(beats_in)
            raise
        finally:
            os.close(beats_out)
        if not watched:
            os.close(beats_in)
            return None
        loop = asyncio.get_running_loop()

        def kill() -> None:
            if process.returncode is None:
                reason = f"the learner gave no sign of life for {self.hang_s:g} s and was killed"
                log.error(reason)
                process.kill()
                hung(reason)

        def silent() -> None:  # on the watchdog's thread
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(kill)

        return Watchdog(beats_in, self.hang_s, silent, process.pid)


def _exit_reason(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"


def _die_with_parent() -> None:
    """Have the kernel kill the child when the service dies, even by SIGKILL.

    SIGINT is ignored: Ctrl-C goes to the service, which ends the child in order.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
