"""A real, tiny model for tests of the service: a byte tokenizer, and a runner whose completions name their version.

The last user message decides the completion: `say: X` repeats X, `long` fills `max_tokens`, and `die` ends the runner.
Any other message gives 2 to 6 parts drawn by the seed, each of which names the version (`w3-017`).
"""

import codecs
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from policy.errors import Interrupted
from policy.runners.base import Alternatives, Finish, GenerationRequest, Runner, SamplingSettings, TokenDelta
from service.errors import VersionRefused
from store.versions import Version

USER, ASSISTANT, SYSTEM, END = 256, 257, 258, 259
ROLES = {"user": USER, "assistant": ASSISTANT, "system": SYSTEM}


class ByteStream:
    """Bytes to text, whole characters only."""

    num_carried = 0

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.is_at_start = True

    def feed(self, token_id: int) -> str:
        self.is_at_start = False
        return self._decoder.decode(bytes([token_id])) if token_id < 256 else ""

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


@dataclass
class OpenRequest:
    """One completion under way."""

    request_id: str
    ids: list[int]
    settings: SamplingSettings
    on_delta: Callable[[TokenDelta], None]
    position: int = 0


class ParrotRunner:
    """Gives every open request one token per step, on a thread of its own, as a continuous batch does."""

    kind = "parrot"

    def __init__(self, number: int, step_s: float = 0.0, context_length: int = 1024) -> None:
        self.number, self.step_s, self.context_length = number, step_s, context_length
        self.on_exit: Callable[[str], None] | None = None
        self.cancelled: list[str] = []
        self.is_closed = False
        self._orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._open: dict[str, OpenRequest] = {}
        self._thread = threading.Thread(target=self._run, name=f"parrot-{number}", daemon=True)
        self._thread.start()

    def submit(
        self,
        request_id: str,
        prompt_ids: Sequence[int],
        settings: SamplingSettings,
        on_delta: Callable[[TokenDelta], None],
    ) -> None:
        self._orders.put(OpenRequest(request_id, self._completion(list(prompt_ids), settings), settings, on_delta))

    def submit_all(self, requests: Sequence[GenerationRequest]) -> None:
        for one in requests:
            self.submit(one.request_id, one.prompt_ids, one.settings, one.on_delta)

    def cancel(self, request_id: str) -> None:
        self._orders.put(request_id)

    def fingerprint(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> list[float]:
        return [-float(token) for token in token_ids]

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        return [[logp_of(token) for token in completion] for _, completion in sequences]

    def alternatives(self, prompt_ids: Sequence[int], completion_ids: Sequence[int], count: int) -> Alternatives:
        return [[((token + rank) % 256, logp_of(token) - rank) for rank in range(count)] for token in completion_ids]

    def stats(self) -> dict[str, Any]:
        return {"active": len(self._open)}

    def close(self) -> None:
        self.is_closed = True
        self._orders.put(None)
        self._thread.join(5)

    def die(self, reason: str = "it fell off its perch") -> None:
        """End as a crashed process would: every open request fails, then `on_exit` is called."""
        self._orders.put(RuntimeError(reason))

    def _run(self) -> None:
        while True:
            order = self._orders.get() if not self._open else self._order_if_any()
            while order is not _NOTHING:
                if order is None or isinstance(order, RuntimeError):
                    self._end_all(str(order or "closed"), is_crash=order is not None)
                    return
                if isinstance(order, OpenRequest):
                    self._open[order.request_id] = order
                elif order in self._open:
                    self.cancelled.append(order)
                    self._open.pop(order).on_delta(TokenDelta(order, (), (), "cancelled"))
                order = self._order_if_any()
            self._step()

    def _order_if_any(self) -> Any:
        try:
            return self._orders.get_nowait()
        except queue.Empty:
            return _NOTHING

    def _step(self) -> None:
        if self.step_s:
            time.sleep(self.step_s)
        for request in list(self._open.values()):
            token, request.position = request.ids[request.position], request.position + 1
            finish: Finish = (
                "stop"
                if token == END
                else "length"
                if request.position >= min(request.settings.max_tokens, len(request.ids))
                else ""
            )
            if token == DIES:
                self.die()
                return
            if finish:
                del self._open[request.request_id]
            request.on_delta(TokenDelta(request.request_id, (token,), (logp_of(token),), finish))

    def _end_all(self, reason: str, is_crash: bool) -> None:
        for request in self._open.values():
            request.on_delta(TokenDelta(request.request_id, (), (), "error", reason))
        self._open.clear()
        if is_crash and self.on_exit is not None:
            self.on_exit(reason)

    def _completion(self, prompt: list[int], settings: SamplingSettings) -> list[int]:
        last = len(prompt) - prompt[::-1].index(USER) if USER in prompt else len(prompt)
        order_text = bytes(token for token in prompt[last:] if token < 256).decode()
        if order_text.startswith("say: "):
            return [*order_text[5:].encode(), END]
        if order_text == "die":
            return [*b"I am ", DIES]
        rng = random.Random(settings.seed if settings.temperature else 0)
        num_parts = settings.max_tokens if order_text == "long" else rng.randint(2, 6)
        text = " ".join(f"w{self.number}-{rng.randrange(1000):03d}" for _ in range(num_parts))
        return [*text.encode(), END]


_NOTHING = object()
DIES = 260  # a token that ends the runner


def logp_of(token: int) -> float:
    """Return the log-probability that the parrot gives a token."""
    return -0.25 - (token % 8) / 8


@dataclass
class ParrotEncoder:
    """Renders the conversations of one request."""

    model: "ParrotModel"
    is_interrupted: Callable[[], bool]

    def prompt_ids_within(self, messages: Sequence[dict[str, Any]], limit: int) -> list[int] | None:
        if self.is_interrupted():
            raise Interrupted
        ids = self.model.prompt_ids(messages)
        return ids if len(ids) <= limit else None


@dataclass
class ParrotModel:
    """The service's model for tests.

    `refused` versions have wrong weights, `broken` ones fail to load so many times. `gib` is the memory of a version,
    `shared` what all take together.
    """

    digest: str = "parrot"
    end_ids: tuple[int, ...] = (END,)
    vocab_size: int = 261
    sampling: Mapping[str, float] = field(default_factory=dict)
    runner_reason: str = "it is a parrot"
    step_s: float = 0.0
    load_s: float = 0.0
    context_length: int = 1024
    refused: set[int] = field(default_factory=set)
    broken: dict[int, int] = field(default_factory=dict)
    gib: dict[int, float] = field(default_factory=dict)
    shared: float = 0.0
    runners: list[ParrotRunner] = field(default_factory=list)

    def prompt_ids(self, messages: Sequence[dict[str, Any]]) -> list[int]:
        ids: list[int] = []
        for message in messages:
            ids += [ROLES[message["role"]], *message["content"].encode(), END]
        return [*ids, ASSISTANT]

    def prompt_encoder(
        self, is_interrupted: Callable[[], bool], arguments: Mapping[str, Any] | None = None
    ) -> "ParrotEncoder":
        return ParrotEncoder(self, is_interrupted)

    def completion_ids(self, messages: Sequence[dict[str, Any]], text: str) -> tuple[list[int], list[int]]:
        return self.prompt_ids(messages), [*text.encode(), END]

    def text_stream(self) -> ByteStream:
        return ByteStream()

    def token(self, token_id: int, is_first: bool = False) -> tuple[str, list[int]]:
        return bytes([token_id]).decode(errors="replace"), [token_id]

    def load(self, version: Version) -> Runner:
        time.sleep(self.load_s)
        if version.number in self.refused:
            raise VersionRefused(f"version {version.number} differs from what was trained")
        if self.broken.get(version.number, 0):
            self.broken[version.number] -= 1
            raise RuntimeError("not enough memory")
        runner = ParrotRunner(version.number, self.step_s, self.context_length)
        self.runners.append(runner)
        return runner

    def memory_gib(self, version: Version) -> float:
        return self.gib.get(version.number, 1.0)

    @property
    def shared_gib(self) -> float:
        return self.shared

    def manifest(self, version: Version) -> dict[str, Any] | None:
        return {"version": version.number} if version.number else None

    def prepare(self) -> None:
        """A parrot is always ready."""

    def close(self) -> None:
        """It keeps nothing."""
