"""The interface of all runners, and the values that cross it. No torch here: the service imports it."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

Finish = Literal["", "stop", "length", "cancelled", "error"]
Alternatives = list[
    list[tuple[int, float]]
]  # for each token of a reply the likeliest ones in its place, best first: (id, nats)


@dataclass(frozen=True)
class SamplingSettings:
    """How one reply is sampled. `temperature` 0 is greedy, `top_k` 0 is off; `end_ids` are the token ids that end the
    reply.

    Order, as in the engines: penalties, temperature, top-k, top-p. A seed is always used; the same one gives the same
    reply.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 256
    seed: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    end_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class TokenDelta:
    """What came of one request since its last step.

    `ids` are the sampled token ids (the one that ended the reply included) and `logps` (nats) each one's raw
    log-probability under the
    model at temperature 1 without truncation. `finish` is "" until the last step.
    """

    request_id: str
    ids: tuple[int, ...] = ()
    logps: tuple[float, ...] = ()
    finish: Finish = ""
    error: str = ""


@dataclass(frozen=True)
class VersionSource:
    """Where a version's weights are: the base model (name or folder) and, for a learned version, an adapter or full
    weights.

    `weights` are handles of the base weights in another process (`policy.shared_weights`), b"" where a runner has its own copy.
    """

    number: int
    base: str
    digest: str
    cache: Path
    adapter: Path | None = None
    full: Path | None = None
    weights: bytes = b""


@dataclass(frozen=True)
class RunnerOptions:
    """How runners are built. `precision` float32 or bfloat16; `quantize` none, q8_0, q4_0; `kv_gib` memory for cached
    keys and values;
    `threads` 0 leaves the number to the engine; `max_batch` bounds how many replies are made at once; `kinds` are the
    engines to try,
    best first, none for the device's usual ones."""

    device: str = "cpu"
    precision: str = "float32"
    quantize: str = "none"
    kv_gib: float = 1.0
    threads: int = 0
    max_batch: int = 64
    kinds: tuple[str, ...] = ()


class Runner(Protocol):
    """One version's weights, generating. Calls return at once; `on_delta` is called from another thread and must not
    block.
    """

    kind: str
    context_length: int
    on_exit: Callable[[str], None] | None

    def submit(
        self,
        request_id: str,
        prompt_ids: Sequence[int],
        settings: SamplingSettings,
        on_delta: Callable[[TokenDelta], None],
    ) -> None:
        """Start one reply; the replies of one answer have ids that differ after their last hyphen alone.

        Raises PromptTooLong, or ValueError for ids outside the vocabulary or a request id in use.
        """

    def cancel(self, request_id: str) -> None:
        """End one reply within a step; its last step says "cancelled". An id that is not in use changes nothing."""

    def fingerprint(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> list[float]:
        """Return the log-probability (nats, temperature 1) of each of `token_ids` as the next token after the prompt."""

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Return each (prompt, reply)'s raw log-probabilities of the reply's tokens (nats)."""

    def alternatives(self, prompt_ids: Sequence[int], completion_ids: Sequence[int], count: int) -> Alternatives:
        """Return the `count` likeliest tokens in the place of each reply token, under the raw model, by one forward
        pass.
        """

    def stats(self) -> dict[str, Any]:
        """Return what it is doing: active replies, tokens made, and for a runner on this machine its resident memory
        `rss` in bytes.
        """

    def close(self) -> None:
        """End it; open requests get a last step with finish "error"."""


@dataclass
class _Generation:
    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    finish: Finish = ""
    error: str = ""


def generate_all(
    runner: Runner,
    prompts: Sequence[Sequence[int]],
    settings: Sequence[SamplingSettings],
    timeout_s: float = 300.0,
    prefix: str = "all",
) -> list[tuple[list[int], list[float], Finish]]:
    """Make one reply to each prompt, all at once, and wait: (ids, logps, finish) in the order of the prompts.

    Raises TimeoutError, or RuntimeError with the runner's words when a reply failed.
    """
    generations = [_Generation() for _ in prompts]
    left, done = [len(prompts)], threading.Event()
    lock = threading.Lock()

    def receiver(index: int) -> Callable[[TokenDelta], None]:
        def receive(delta: TokenDelta) -> None:
            generation = generations[index]
            generation.ids += delta.ids
            generation.logps += delta.logps
            if delta.finish:
                generation.finish, generation.error = delta.finish, delta.error
                with lock:
                    left[0] -= 1
                    if not left[0]:
                        done.set()

        return receive

    for index, (prompt, setting) in enumerate(zip(prompts, settings, strict=True)):
        runner.submit(f"{prefix}-{index}", prompt, setting, receiver(index))
    if prompts and not done.wait(timeout_s):
        for index in range(len(prompts)):
            runner.cancel(f"{prefix}-{index}")
        raise TimeoutError(f"{left[0]} of {len(prompts)} replies were not finished after {timeout_s} s")
    failed = next((generation for generation in generations if generation.finish == "error"), None)
    if failed is not None:
        raise RuntimeError(f"the runner failed: {failed.error}")
    return [(generation.ids, generation.logps, generation.finish) for generation in generations]
