"""The interface of all runners and its values. No torch: the service imports this."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from policy.watchdog import HANG_S, STEP_S

CHECK_S = 0.1  # seconds between two calls of what may end a wait
Finish = Literal["", "stop", "length", "cancelled", "error"]
# For each token of a completion the likeliest tokens at its index, best first: (id, log-probability in nats).
Alternatives = list[list[tuple[int, float]]]


@dataclass(frozen=True)
class SamplingSettings:
    """How one generation is sampled. `temperature` 0 is greedy, `top_k` 0 is off; `end_ids` end the generation.

    The order is that of the engines: penalties, temperature, top-k, top-p, min-p. Repetition is penalized first, as in
    transformers: positive logits of tokens in prompt or completion are divided by `repetition_penalty`, others
    multiplied. `min_p` keeps tokens with that share of the likeliest one's probability. The same seed gives the same
    completion.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 256
    seed: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    min_p: float = 0.0
    end_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class TokenDelta:
    """The new tokens of one generation since its last delta.

    `ids` are the sampled token ids, with the one that ended the generation. `logps` (nats) are their raw
    log-probabilities at temperature 1 without truncation. `finish` is "" until the last delta.
    """

    request_id: str
    ids: tuple[int, ...] = ()
    logps: tuple[float, ...] = ()
    finish: Finish = ""
    error: str = ""


@dataclass(frozen=True)
class VersionSource:
    """Where a version's weights are: the base model (name or folder), and an adapter or full weights if it is learned.

    `weights` are handles of base weights in another process (`policy.shared_weights`), b"" for a copy of its own.
    Files that are made of learned weights go to `scratch`, and without one into the cache, where versions are kept.
    """

    number: int
    base: str
    digest: str
    cache: Path
    adapter: Path | None = None
    full: Path | None = None
    weights: bytes = b""
    scratch: Path | None = None

    @property
    def made(self) -> Path:
        """The folder for files that are made of these weights; the base model's are for all, and lie in the cache."""
        return self.cache if self.scratch is None else self.scratch


@dataclass(frozen=True)
class GenerationRequest:
    """One generation to start: see `Runner.submit`."""

    request_id: str
    prompt_ids: Sequence[int]
    settings: SamplingSettings
    on_delta: Callable[[TokenDelta], None]


@dataclass(frozen=True)
class RunnerOptions:
    """How runners are built.

    `precision` is float32 or bfloat16; `quantize` none, q8_0, q4_0, q4_k or file (the weights of the
    GGUF file that the model came from); `kv_gib` the memory for keys and values.
    With `threads` 0 the engine chooses. `max_batch` bounds the generations at once. `kinds` are the engines to try,
    best first; without any, those of the device. Without `keep_prompts` no number depends on earlier requests. A
    process without a sign of life for `hang_s` seconds, or in one step for `step_s`, is killed.
    """

    device: str = "cpu"
    precision: str = "float32"
    quantize: str = "none"
    kv_gib: float = 1.0
    threads: int = 0
    max_batch: int = 64
    kinds: tuple[str, ...] = ()
    keep_prompts: bool = True
    hang_s: float = HANG_S
    step_s: float = STEP_S


class Runner(Protocol):
    """An engine with one version's weights. `submit` and `cancel` return at once.

    `on_delta` is called on another thread and must not block. `on_exit` is called if the runner ends by itself.
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
        """Start one generation. The ids of one answer's generations differ only after their last hyphen.

        Raises PromptTooLong, or ValueError for ids outside the vocabulary or a request id in use.
        """

    def submit_all(self, requests: Sequence[GenerationRequest]) -> None:
        """Start generations together: none takes a step before all are there, so that batches do not depend on time.

        Raises as `submit` does, before any is started.
        """

    def cancel(self, request_id: str) -> None:
        """End one generation soon; its last delta has finish "cancelled". An unknown id changes nothing."""

    def fingerprint(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> list[float]:
        """Return the log-probability (nats, temperature 1) of each of `token_ids` right after the prompt."""

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Return the raw log-probabilities (nats) of the completion's tokens for each (prompt, completion)."""

    def alternatives(self, prompt_ids: Sequence[int], completion_ids: Sequence[int], count: int) -> Alternatives:
        """Return the `count` likeliest tokens of the raw model at the index of each completion token."""

    def stats(self) -> dict[str, Any]:
        """Return its numbers: active generations, tokens, and on this machine its resident memory `rss` in bytes."""

    def close(self) -> None:
        """End the runner; open generations get a last delta with finish "error"."""


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
    check: Callable[[], None] = lambda: None,
) -> list[tuple[list[int], list[float], Finish]]:
    """Generate one completion for each prompt, all at once; return (ids, logps, finish) in the order of the prompts.

    `check` is called several times a second meanwhile; what it raises cancels all. Raises TimeoutError, or RuntimeError
    with the runner's message when a generation failed.
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

    pairs = enumerate(zip(prompts, settings, strict=True))
    runner.submit_all([GenerationRequest(f"{prefix}-{at}", *pair, receiver(at)) for at, pair in pairs])
    deadline = time.monotonic() + timeout_s
    try:
        while prompts and not done.wait(min(CHECK_S, timeout_s)):
            check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{left[0]} of {len(prompts)} completions were not finished after {timeout_s} s")
    except BaseException:
        for index in range(len(prompts)):
            runner.cancel(f"{prefix}-{index}")
        raise
    failed = next((generation for generation in generations if generation.finish == "error"), None)
    if failed is not None:
        raise RuntimeError(f"the runner failed: {failed.error}")
    return [(generation.ids, generation.logps, generation.finish) for generation in generations]
