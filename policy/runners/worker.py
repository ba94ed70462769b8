"""The child process of one runner: reads commands, advances the engine, sends deltas. It ends with its parent.

    python -m policy.runners.worker FD BEATS_FD KINDS

Messages are pickled tuples over a socket pair.
In: ("load", source, options, kinds), ("hold", base, options, room), ("submit", [(id, ids, settings)]), ("cancel", id),
("call", number, name, arguments), ("close",).
Out: ("loaded", kind, context length, vocabulary, reasons for skipped kinds), ("held", handles), ("failed", reason),
("deltas", [fields of a TokenDelta]), ("result", number, value), ("error", number, reason).
"""

import gc
import logging
import os
import resource
import select
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from policy.errors import ModelCorrupt, ModelNotFound, PolicyError, RunnerFailed
from policy.runners.base import RunnerOptions, TokenDelta, VersionSource
from policy.runners.delta_buffer import DeltaBuffer
from policy.watchdog import Beats

log = logging.getLogger(__name__)


def build_engine(kind: str, source: VersionSource, options: RunnerOptions) -> Any:
    """Return an engine with the version loaded. Raises UnsupportedModel, or ImportError without its package."""
    if kind == "openvino":
        from policy.runners.openvino import OpenVinoEngine

        return OpenVinoEngine(source, options)
    if kind == "transformers":
        from policy.runners.transformers import TransformersEngine

        return TransformersEngine(source, options)
    if kind == "llamacpp":
        from policy.runners.llamacpp import LlamaCppEngine

        return LlamaCppEngine(source, options)
    raise ValueError(f"unknown runner {kind!r}")


def load_first(kinds: tuple[str, ...], source: VersionSource, options: RunnerOptions) -> tuple[Any, str]:
    """Return the first engine of `kinds` that loads the version, and why those before it did not ("" for none).

    Raises RunnerFailed with all reasons.
    """
    reasons = []
    for kind in kinds:
        try:
            engine = build_engine(kind, source, options)
        except (ModelNotFound, ModelCorrupt) as error:  # every other kind would fail too
            raise RunnerFailed(_reason(error)) from error
        except (PolicyError, ImportError, RuntimeError, OSError, ValueError) as error:
            reasons.append(f"{kind}: {_reason(error)}")
        else:
            return engine, "; ".join(reasons)
    raise RunnerFailed("; ".join(reasons))


class Worker:
    """One engine and the pipe to its parent."""

    def __init__(self, pipe: Connection, beats: Beats) -> None:
        self._pipe, self._beats = pipe, beats
        self._poll = select.poll()
        self._lock = threading.Lock()  # calls on other threads send too
        self._engine: Any = None
        self._buffer = DeltaBuffer()
        self._held: Any = None  # base weights that other processes use

    def run(self) -> None:
        """Serve until the parent sends close or is gone."""
        self._poll.register(self._pipe.fileno(), select.POLLIN)
        try:
            while True:
                while self._has_message(0 if self._engine is not None and self._engine.busy else None):
                    if not self._handle(self._pipe.recv()):
                        return
                    if self._engine is not None and self._engine.busy and not self._has_message(0):
                        break
                self._advance()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return  # the parent is gone

    def _has_message(self, wait_ms: int | None) -> bool:
        """Whether a message can be read; Connection.poll takes ten times longer, which is felt at every step."""
        return bool(self._poll.poll(wait_ms))

    def _advance(self) -> None:
        if self._engine is None or not self._engine.busy:
            return
        with self._beats.step():
            deltas = self._engine.advance()
        self._send_deltas(self._buffer.add(deltas, time.monotonic()))

    def _send_deltas(self, deltas: list[TokenDelta]) -> None:
        if deltas:  # plain tuples, since objects of a class take several times longer to read
            self._send(
                ("deltas", [(delta.request_id, delta.ids, delta.logps, delta.finish, delta.error) for delta in deltas])
            )

    def _handle(self, message: tuple[Any, ...]) -> bool:
        command, *rest = message
        if command in ("submit", "call"):  # what follows may take long
            self._send_deltas(self._buffer.take())
        if command == "load":
            self._load(*rest)
        elif command == "hold":
            self._hold(*rest)
        elif command == "submit":
            for request_id, prompt_ids, settings in rest[0]:
                try:
                    self._engine.add(request_id, prompt_ids, settings)
                except Exception as error:  # a bad request must not end the others
                    self._send_deltas([TokenDelta(request_id, finish="error", error=_reason(error))])
        elif command == "cancel":
            self._cancel(rest[0])
        elif command == "call":
            self._call(*rest)
        elif command == "close":
            return False
        return True

    def _cancel(self, request_id: str) -> None:
        try:
            last = self._engine.cancel(request_id)
        except Exception as error:  # it must not end the others
            last = TokenDelta(request_id, finish="error", error=_reason(error))
        if last is not None:
            self._send_deltas(self._buffer.add([last], time.monotonic()))

    def _load(self, source: VersionSource, options: RunnerOptions, kinds: tuple[str, ...]) -> None:
        self._beats.step_s = options.step_s
        try:
            self._engine, skipped = load_first(kinds, source, options)
        except Exception as error:
            self._send(("failed", _reason(error)))
            return
        gc.freeze()
        self._send(("loaded", self._engine.kind, self._engine.context_length, self._engine.vocabulary, skipped))

    def _hold(self, base: str, options: RunnerOptions, room: int) -> None:
        """Load base weights for other processes, unless the GPU has `room` bytes free (0: always load)."""
        try:
            import torch

            from policy.model import load_model
            from policy.shared_weights import hand_out

            if room and torch.cuda.mem_get_info()[0] >= room:
                self._send(("held", b""))
                return
            self._held = load_model(base, options.device, options.precision)
            self._send(("held", hand_out(base, self._held)))
        except Exception as error:
            self._send(("failed", _reason(error)))

    def _send(self, message: tuple[Any, ...]) -> None:
        with self._lock:
            self._pipe.send(message)

    def _call(self, number: int, name: str, arguments: tuple[Any, ...]) -> None:
        if name in self._engine.beside:
            threading.Thread(target=self._answer, args=(number, name, arguments), daemon=True).start()
        else:
            with self._beats.step():
                self._answer(number, name, arguments)

    def _answer(self, number: int, name: str, arguments: tuple[Any, ...]) -> None:
        try:
            # scoring advances the engine too; deltas of open generations are read by the next `advance`
            value = self._stats() if name == "stats" else getattr(self._engine, name)(*arguments)
            self._send(("result", number, value))
        except Exception as error:
            self._send(("error", number, _reason(error)))

    def _stats(self) -> dict[str, Any]:
        memory = resident_memory()
        return {
            "kind": self._engine.kind,
            "active": self._engine.active,
            "tokens": self._engine.tokens,
            "rss": memory,
            "pid": os.getpid(),
        }


def resident_memory() -> int:
    """Return this process's resident memory in bytes, or its peak where the system has no other number."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _reason(error: Exception) -> str:
    """Return an error as one line: the last one, which is the cause in OpenVINO's messages."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def warm_imports(kinds: tuple[str, ...]) -> None:
    """Import the packages that loading needs, so that a spare worker loads in a fraction of a second."""
    try:
        if "openvino" in kinds[:1]:
            import gguf
            import openvino_genai  # noqa: F401

            del gguf
        elif "llamacpp" in kinds[:1]:
            import gguf

            import policy.runners.llamacpp  # its library is loaded later: the settings say how its threads wait

            del gguf, policy
        elif "transformers" in kinds[:1]:
            import torch
            import transformers  # noqa: F401

            del torch
    except ImportError as error:
        log.info("not warmed up: %s", error)


def end_with(parent: int) -> None:
    """End with the parent, also while the main thread loads or imports and reads no pipe."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def main() -> None:
    """Entry point of the child."""
    threading.Thread(target=end_with, args=(os.getppid(),), name="end-with-parent", daemon=True).start()
    beats = Beats(int(sys.argv[2]))
    pipe, kinds = Connection(int(sys.argv[1])), tuple(sys.argv[3].split(","))
    warm_imports(kinds)
    Worker(pipe, beats).run()


if __name__ == "__main__":
    main()
