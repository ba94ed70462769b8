"""A runner in a process of its own, seen from the parent.

A crash ends one version only, the system takes back all its memory, and no lock is shared.
"""

import contextlib
import logging
import math
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from policy.errors import PromptTooLong, RunnerFailed
from policy.runners.base import (
    Alternatives,
    GenerationRequest,
    RunnerOptions,
    SamplingSettings,
    TokenDelta,
    VersionSource,
)
from policy.watchdog import HANG_S, Watchdog, cpu_seconds

log = logging.getLogger(__name__)
ROOT = Path(__file__).parent.parent.parent
CALL_TIMEOUT_S = 120.0
LOAD_TIMEOUT_S = 600.0  # the same for one that loads weights
CRASHES = tuple(-number for number in (signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS))
SCORED_AT_ONCE = 64


def runner_kinds(device: str) -> tuple[str, ...]:
    """Return the engines to try on a device where nobody chose by the model (policy/runners/choice.py)."""
    return ("transformers",) if device == "cuda" else ("openvino", "llamacpp", "transformers")


class WorkerCrashed(RunnerFailed):
    """A library crashed the worker; one that does not support this processor may do so."""


class WorkerProcess:
    """A child process with its pipe, before or after it has loaded a version.

    It is killed after `hang_s` seconds without a sign of life; 0 means never. `hung` is the reason then.
    """

    def __init__(self, kinds: tuple[str, ...], hang_s: float = HANG_S) -> None:
        ours, theirs = socket.socketpair()
        beats_in, beats_out = os.pipe()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        }
        descriptors = [theirs.fileno(), beats_out]
        command = [sys.executable, "-m", "policy.runners.worker", *map(str, descriptors), ",".join(kinds)]
        # a session of its own: Ctrl-C goes to the parent alone, which lets answers under way finish
        self._lock = threading.Lock()  # one message at a time: at the end two threads send
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=descriptors, env=environment, start_new_session=True
        )
        theirs.close()
        os.close(beats_out)
        self.hung, self._hang_s = "", hang_s
        self._watchdog = Watchdog(beats_in, hang_s or math.inf, self._kill_hung, self.process.pid)
        self.pipe = Connection(ours.detach())
        self.kinds = kinds

    def limit_steps(self, step_s: float) -> None:
        """Count a process as hung, though it computes, after `step_s` seconds without a sign of life; 0 means never."""
        self._watchdog.busy_limit_s = step_s or math.inf

    def send(self, message: tuple[Any, ...]) -> None:
        """Send one message. Raises OSError when the child is gone."""
        with self._lock:
            self.pipe.send(message)

    def ask(self, message: tuple[Any, ...], what: str, timeout_s: float) -> tuple[Any, ...]:
        """Send a message that makes it load `what`; return its response.

        Raises RunnerFailed, with the child ended, without a response within `timeout_s`, and WorkerCrashed for a crash.
        """
        try:
            self.send(message)
            if self.pipe.poll(timeout_s):
                answer: tuple[Any, ...] = self.pipe.recv()
                return answer
        except (EOFError, OSError) as error:
            self.end(1.0)
            failed = WorkerCrashed if self.process.returncode in CRASHES else RunnerFailed
            reason = self.hung or f"ended while loading (status {self.process.returncode})"
            raise failed(f"the worker of {what} {reason}") from error
        self.end(0.1)
        raise RunnerFailed(f"{what} was not loaded within {timeout_s:.0f} s")

    def end(self, wait_s: float = 3.0) -> None:
        """Ask it to end; kill it after `wait_s`."""
        self._watchdog.close()
        if self._lock.acquire(timeout=wait_s):  # not free: a child that reads no more is killed
            with contextlib.suppress(OSError, ValueError):
                if _takes_more(self.pipe):
                    self.pipe.send(("close",))
            self._lock.release()
        try:
            self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.pipe.close()

    def kill(self) -> None:
        """End it now, whoever waits for it."""
        self._watchdog.close()
        self.process.kill()

    def _kill_hung(self) -> None:
        self.hung = f"gave no sign of life for {self._hang_s:g} s and was killed"
        log.error("the worker process %d %s", self.process.pid, self.hung)
        self.process.kill()


def _takes_more(pipe: Connection) -> bool:
    """Whether a short message can be sent without waiting for a child that may read no more."""
    poll = select.poll()
    poll.register(pipe.fileno(), select.POLLOUT)
    return bool(poll.poll(0))


class WeightsProcess:
    """A process that holds base weights for the runners of all versions, which it must outlive. Use `start`.

    `weights` are the handles for `VersionSource.weights`; b"" means that each runner has room for its own copy.
    """

    def __init__(self, worker: WorkerProcess, weights: bytes) -> None:
        self._worker, self.weights = worker, weights

    @classmethod
    def start(cls, base: str, options: RunnerOptions, *, room: int = 0, timeout_s: float = 600.0) -> "WeightsProcess":
        """Load the base model in a process of its own, unless its GPU has `room` bytes free (0: always load).

        Raises RunnerFailed with the reason.
        """
        worker = WorkerProcess(("transformers",), hang_s=0)  # the handles of runners end with it, so it stays
        status, what = worker.ask(("hold", base, options, room), "the base model", timeout_s)
        if status != "held" or not what:
            worker.end()
        if status != "held":
            raise RunnerFailed(f"the base weights cannot be shared: {what}; set adapters to merged")
        return cls(worker, what)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._worker.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether its handles are usable."""
        return not self.weights or self._worker.process.poll() is None

    def close(self) -> None:
        """Release the weights."""
        if self.weights:
            self._worker.end()


class RunnerProcess:
    """The Runner interface to a worker process. Use `RunnerProcess.load`."""

    def __init__(self, worker: WorkerProcess, kind: str, context_length: int, vocabulary: int) -> None:
        self.kind, self.context_length, self.vocabulary = kind, context_length, vocabulary
        self.on_exit: Callable[[str], None] | None = None
        self._worker = worker
        self._lock = threading.Lock()
        self._open: dict[str, Callable[[TokenDelta], None]] = {}
        self._calls: dict[int, Future[Any]] = {}
        self._numbers = 0
        self._closed = False
        self._out: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        threading.Thread(target=self._send, name="runner-send", daemon=True).start()
        threading.Thread(target=self._receive, name="runner-receive", daemon=True).start()

    @classmethod
    def load(
        cls,
        source: VersionSource,
        options: RunnerOptions,
        *,
        spare: WorkerProcess | None = None,
        timeout_s: float = 600.0,
        started: Callable[[WorkerProcess], None] = lambda _: None,
    ) -> "RunnerProcess":
        """Load a version into a worker (`spare`, if it is still alive) and return its runner.

        `started` gets each worker before it loads, so that another thread can end it.
        An engine that crashes while loading, or that cannot load the version, is skipped. Raises RunnerFailed with the
        worker's reason, or without a response within `timeout_s`.
        """
        kinds = options.kinds or runner_kinds(options.device)
        worker = (
            spare
            if spare is not None and spare.process.poll() is None and spare.kinds == kinds
            else WorkerProcess(kinds, options.hang_s)
        )
        started(worker)
        try:
            status, *rest = worker.ask(("load", source, options, kinds), f"version {source.number}", timeout_s)
        except WorkerCrashed as error:
            if len(kinds) == 1:
                raise
            log.warning("%s does not run on this machine: %s", kinds[0], error)
            return cls.load(source, replace(options, kinds=kinds[1:]), timeout_s=timeout_s, started=started)
        if status != "loaded":
            worker.end()
            raise RunnerFailed(f"version {source.number} cannot be loaded: {rest[0]}")
        worker.limit_steps(options.step_s)  # not before: loading has a limit of its own
        kind, context_length, vocabulary, skipped = rest
        if skipped:
            log.warning("version %d runs on %s, since %s", source.number, kind, skipped)
        return cls(worker, kind, context_length, vocabulary)

    def submit(
        self,
        request_id: str,
        prompt_ids: Sequence[int],
        settings: SamplingSettings,
        on_delta: Callable[[TokenDelta], None],
    ) -> None:
        """See Runner."""
        self.submit_all([GenerationRequest(request_id, prompt_ids, settings, on_delta)])

    def submit_all(self, requests: Sequence[GenerationRequest]) -> None:
        """See Runner."""
        for one in requests:
            self._check_request(one.prompt_ids, one.settings)
        with self._lock:
            if self._closed:
                raise RunnerFailed("this runner is closed")
            used = next((one.request_id for one in requests if one.request_id in self._open), None)
            if used is not None:
                raise ValueError(f"the request id {used!r} is in use")
            self._open |= {one.request_id: one.on_delta for one in requests}
        self._out.put(("submit", [(one.request_id, list(one.prompt_ids), one.settings) for one in requests]))

    def _check_request(self, prompt_ids: Sequence[int], settings: SamplingSettings) -> None:
        if not prompt_ids:
            raise ValueError("the prompt has no tokens")
        if len(prompt_ids) + settings.max_tokens > self.context_length:
            asked = f"{len(prompt_ids)} tokens of prompt and {settings.max_tokens} of answer"
            raise PromptTooLong(f"{asked} do not fit the context of {self.context_length} tokens")
        self._check_ids(prompt_ids)
        if settings.max_tokens < 1:
            raise ValueError(f"max_tokens is {settings.max_tokens}; it must be at least 1")

    def adopt(self, source: VersionSource) -> bool:
        """Take on other learned weights over the same base, and forget all prompts; without open generations.

        Returns False where the engine has to be loaded anew for that.
        """
        return bool(self._call("adopt", (source,), LOAD_TIMEOUT_S))

    @property
    def cpu_seconds(self) -> float:
        """The CPU time that the process has taken, in seconds; 0 where the system does not tell."""
        return cpu_seconds(self._worker.process.pid)

    def _check_ids(self, ids: Sequence[int]) -> None:
        wrong = next((token for token in ids if not 0 <= token < self.vocabulary), None)
        if wrong is not None:
            raise ValueError(f"the token id {wrong} is outside the vocabulary, 0 to {self.vocabulary - 1}")

    def cancel(self, request_id: str) -> None:
        """See Runner."""
        if request_id in self._open:
            self._out.put(("cancel", request_id))

    def fingerprint(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> list[float]:
        """See Runner."""
        for token in token_ids:
            self._check_sequence(prompt_ids, [token])
        logps: list[float] = self._call("fingerprint", (list(prompt_ids), list(token_ids))) if token_ids else []
        return logps

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """See Runner."""
        plain = [(list(prompt), list(completion)) for prompt, completion in sequences]
        for prompt, completion in plain:
            self._check_sequence(prompt, completion)
        scores: list[list[float]] = []
        for at in range(0, len(plain), SCORED_AT_ONCE):  # in parts, so that open generations go on between them
            scores += self._call("score", (plain[at : at + SCORED_AT_ONCE],))
        return scores

    def alternatives(self, prompt_ids: Sequence[int], completion_ids: Sequence[int], count: int) -> Alternatives:
        """See Runner."""
        self._check_sequence(prompt_ids, completion_ids)
        found: Alternatives = (
            self._call("alternatives", (list(prompt_ids), list(completion_ids), count)) if completion_ids else []
        )
        return found

    def _check_sequence(self, prompt: Sequence[int], completion: Sequence[int]) -> None:
        if not prompt:
            raise ValueError("the prompt has no tokens")
        self._check_ids([*prompt, *completion])
        if len(prompt) + len(completion) > self.context_length:
            raise PromptTooLong(
                f"{len(prompt) + len(completion)} tokens do not fit the context of {self.context_length} tokens"
            )

    def stats(self) -> dict[str, Any]:
        """See Runner."""
        numbers: dict[str, Any] = self._call("stats", ())
        return numbers

    def close(self) -> None:
        """See Runner."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._out.put(None)
        self._worker.end()
        self._abandon("the runner was closed")

    def _call(self, name: str, arguments: tuple[Any, ...], timeout_s: float = CALL_TIMEOUT_S) -> Any:
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise RunnerFailed("this runner is closed")
            self._numbers += 1
            number = self._numbers
            self._calls[number] = future
        self._out.put(("call", number, name, arguments))
        return future.result(timeout_s)

    def _send(self) -> None:
        while (message := self._out.get()) is not None:
            try:
                self._worker.send(message)
            except (OSError, ValueError):
                return  # the receiving thread meets the same end and ends all generations

    def _receive(self) -> None:
        try:
            while True:
                status, *rest = self._worker.pipe.recv()
                if status == "deltas":
                    for fields in rest[0]:
                        self._hand_on(TokenDelta(*fields))
                elif status in ("result", "error"):
                    self._answer(status, *rest)
        except (EOFError, OSError, ValueError, TypeError):  # TypeError: the pipe was closed while it was being read
            pass
        except Exception:  # a message that cannot be read: nothing behind it can
            log.exception("the runner's process sent something unreadable")
        with self._lock:
            expected, self._closed = self._closed, True
        if not expected:
            self._worker.process.kill()  # if it is still alive, its pipe is broken
            status = self._worker.process.wait()
            self._out.put(None)
            reason = f"the runner's process {self._worker.hung or f'ended by itself (status {status})'}"
            log.error(reason)
            self._abandon(reason)
            if self.on_exit is not None:
                self.on_exit(reason)

    def _hand_on(self, delta: TokenDelta) -> None:
        on_delta = self._open.pop(delta.request_id, None) if delta.finish else self._open.get(delta.request_id)
        if on_delta is not None:
            self._notify(on_delta, delta)

    def _answer(self, status: str, number: int, value: Any) -> None:
        future = self._calls.pop(number, None)
        if future is None:
            return
        if status == "result":
            future.set_result(value)
        else:
            future.set_exception(RunnerFailed(value))

    def _abandon(self, reason: str) -> None:
        with self._lock:
            left, self._open = self._open, {}
            calls, self._calls = self._calls, {}
        for request_id, on_delta in left.items():
            self._notify(on_delta, TokenDelta(request_id, finish="error", error=reason))
        for future in calls.values():
            future.set_exception(RunnerFailed(reason))

    @staticmethod
    def _notify(on_delta: Callable[[TokenDelta], None], delta: TokenDelta) -> None:
        try:
            on_delta(delta)
        except Exception:  # an error of one caller must not end the generations of others
            log.exception("the receiver of request %s failed", delta.request_id)
