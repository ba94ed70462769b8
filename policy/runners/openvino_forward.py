"""OpenVINO without its batching and its sampling: forward passes of a version's weights, one sequence at a time.

For what the pipeline of OpenVINO GenAI cannot do: the likeliest tokens at each index, scores beside open generations,
and a repetition penalty, which it would apply to logits that were raised (policy/openvino_ir.py).
"""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from policy.array_sampler import likeliest, sampled_token, token_logps
from policy.errors import first_line
from policy.openvino_ir import SHIFT
from policy.runners.base import Alternatives, Finish, SamplingSettings, TokenDelta
from policy.weights import Array

PART = 64  # tokens whose logits are held at once


class Cached:
    """One sequence: it holds the keys and values of the tokens so far."""

    def __init__(self, compiled: Any) -> None:
        self._request, self._length = compiled.create_infer_request(), 0

    def logits(self, ids: Sequence[int]) -> Iterator[tuple[int, Array]]:
        """Yield (index of the first, logits (n, V)) of parts of `ids`, which follow the tokens so far."""
        for at in range(0, len(ids), PART):
            part = np.array([ids[at : at + PART]], dtype=np.int64)
            begin, self._length = self._length, self._length + part.shape[1]
            inputs = {
                "input_ids": part,
                "attention_mask": np.ones((1, self._length), np.int64),
                "position_ids": np.arange(begin, self._length)[None],
                "beam_idx": np.zeros(1, np.int32),
            }
            yield at, self._request.infer(inputs)["logits"][0] - np.float32(SHIFT)


@dataclass
class _Generation:
    request_id: str
    prompt: list[int]
    settings: SamplingSettings
    cached: Cached | None = None  # made at its first token
    ids: list[int] = field(default_factory=list)


class Forward:
    """Forward passes with weights of their own, which `load` compiles at the first use."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load, self._compiled = load, None
        self._lock = threading.Lock()  # alternatives are computed on other threads
        self._open: dict[str, _Generation] = {}

    @property
    def active(self) -> int:
        """Number of open generations."""
        return len(self._open)

    def add(self, request_id: str, prompt_ids: Sequence[int], settings: SamplingSettings) -> None:
        """Open a generation that is sampled as the plain sampler does."""
        self._open[request_id] = _Generation(request_id, list(prompt_ids), settings)

    def cancel(self, request_id: str) -> bool:
        """Close a generation; return whether it was open."""
        return self._open.pop(request_id, None) is not None

    def advance(self) -> list[TokenDelta]:
        """Sample one token for each open generation, one after another; return the new deltas."""
        deltas = [self._step(generation) for generation in list(self._open.values())]
        for delta in deltas:
            if delta.finish:
                del self._open[delta.request_id]
        return deltas

    def alternatives(self, prompt_ids: Sequence[int], completion_ids: Sequence[int], count: int) -> Alternatives:
        """See Runner. Any thread may call it."""
        return [likeliest(row, count) for logits in self._logits(prompt_ids, completion_ids) for row in logits]

    def score(self, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> list[float]:
        """Return the raw log-probabilities (nats) of a completion's tokens. Any thread may call it."""
        logps: list[float] = []
        for logits in self._logits(prompt_ids, completion_ids):
            logps += token_logps(logits, completion_ids[len(logps) : len(logps) + len(logits)])
        return logps

    def _logits(self, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> Iterator[Array]:
        """Yield the logits (n, V) of the completion's tokens, in parts."""
        ids, first = [*prompt_ids, *completion_ids][:-1], len(prompt_ids) - 1
        with self._lock:
            for at, logits in self._sequence().logits(ids):
                yield logits[max(0, first - at) :]

    def _sequence(self) -> Cached:
        if self._compiled is None:
            self._compiled = self._load()
        return Cached(self._compiled)

    def _step(self, generation: _Generation) -> TokenDelta:
        """Return the next token of a generation; one that fails ends, and no other."""
        settings = generation.settings
        try:
            if generation.cached is None:
                with self._lock:
                    generation.cached = self._sequence()
            fresh = generation.ids[-1:] or generation.prompt
            *_, (_, logits) = generation.cached.logits(fresh)
            token, logp = sampled_token(logits[-1], settings, generation.ids, generation.prompt)
        except Exception as error:
            return TokenDelta(generation.request_id, finish="error", error=first_line(error))
        if not math.isfinite(logp):
            return TokenDelta(generation.request_id, finish="error", error="the model's logits are not finite")
        generation.ids.append(token)
        finish: Finish = "stop" if token in settings.end_ids else ""
        if not finish and len(generation.ids) >= settings.max_tokens:
            finish = "length"
        return TokenDelta(generation.request_id, (token,), (logp,), finish)
