"""llama.cpp with continuous batching of our own, for a worker process: every processor, and weights of 4 to 16 bits.

The base weights are one GGUF file in the cache folder, which all versions map; a learned version is an adapter beside
it. Each step decodes one token for every open generation, and a part of the prompts that wait. Sampling is the house's
(policy/array_sampler.py). A finished generation's keys and values stay until their room is needed, and a prompt that
begins with the same tokens shares them.
"""

import math
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from policy.array_sampler import likeliest, sampled_token, token_logps
from policy.errors import RunnerFailed, UnsupportedModel, first_line
from policy.gguf_files import adapter_gguf, base_gguf, merged_gguf
from policy.model import read_config, resolve_model
from policy.runners.base import Alternatives, Finish, RunnerOptions, SamplingSettings, TokenDelta, VersionSource
from policy.runners.llamacpp_library import Llama, library

ROWS = 512  # tokens of a batch, and of a prompt that is alone
BESIDE = 128  # tokens of prompts in a step that others wait for
MOST_SEQUENCES = 255  # llama.cpp's limit, less the one for scores
WORTH = 32  # tokens of a prompt for whose keys and values a generation waits a step or two
PADDING = 256  # cells: llama.cpp rounds up to a multiple


@dataclass
class _Generation:
    request_id: str
    prompt: list[int]
    settings: SamplingSettings
    ids: list[int] = field(default_factory=list)

    @property
    def need(self) -> int:
        """The most tokens that it holds."""
        return len(self.prompt) + self.settings.max_tokens


@dataclass
class _Sequence:
    """One sequence of the memory: `tokens` are those whose keys and values it holds."""

    number: int
    tokens: list[int] = field(default_factory=list)
    generation: _Generation | None = None
    used: int = 0  # the step that used it last

    @property
    def room(self) -> int:
        """The cells that it takes or may come to take; shared ones count in full."""
        return len(self.tokens) if self.generation is None else self.generation.need


class LlamaCppEngine:
    """One version's weights with continuous batching, used by one thread. See Runner for the calls."""

    kind = "llamacpp"
    beside: tuple[str, ...] = ()

    def __init__(self, source: VersionSource, options: RunnerOptions) -> None:
        """Load a version. Raises UnsupportedModel for an unknown architecture, ImportError without the package."""
        library()
        folder = source.full or resolve_model(source.base)
        config = read_config(folder)
        self.context_length = int(config["max_position_embeddings"])
        number = min(options.max_batch, MOST_SEQUENCES)
        self._cells = _cells(config, options)
        files = _files(source, options.quantize)
        self._llama = Llama(
            *files, cells=self._cells, sequences=number + 1, rows=max(ROWS, number), threads=_threads(options)
        )
        self.vocabulary = self._llama.vocabulary
        self._scratch = _Sequence(number)  # for scores and alternatives
        self._sequences = [_Sequence(index) for index in range(number)]
        self._waiting: deque[_Generation] = deque()
        self._deltas: list[TokenDelta] = []  # of steps that were taken to make room
        self._steps = 0
        self.tokens = 0
        self.reused = 0  # prompt tokens that were not computed again

    @property
    def busy(self) -> bool:
        """Whether there are open generations, or deltas to collect."""
        return bool(self._waiting or self._deltas) or any(one.generation is not None for one in self._sequences)

    @property
    def active(self) -> int:
        """Number of open generations."""
        return len(self._waiting) + sum(one.generation is not None for one in self._sequences)

    def add(self, request_id: str, prompt_ids: Sequence[int], settings: SamplingSettings) -> None:
        """Open a generation; the caller has checked ids and lengths."""
        self._waiting.append(_Generation(request_id, list(prompt_ids), settings))

    def cancel(self, request_id: str) -> TokenDelta | None:
        """Close a generation; return its last delta, None when it is not open."""
        self._deltas = [delta for delta in self._deltas if delta.request_id != request_id or delta.finish]
        for sequence in self._sequences:
            if sequence.generation is not None and sequence.generation.request_id == request_id:
                sequence.generation = None
                return TokenDelta(request_id, finish="cancelled")
        for generation in self._waiting:
            if generation.request_id == request_id:
                self._waiting.remove(generation)
                return TokenDelta(request_id, finish="cancelled")
        return None

    def advance(self) -> list[TokenDelta]:
        """Sample one token for each open generation whose prompt is computed; return the new deltas."""
        deltas, self._deltas = self._deltas, []
        return [*deltas, *self._step()]

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Return the raw log-probabilities of each completion's tokens."""
        found: list[list[float]] = []
        for prompt, completion in sequences:
            logps: list[float] = []
            for logits in self._logits(prompt, completion):
                logps += token_logps(logits, completion[len(logps) : len(logps) + len(logits)])
            found.append(logps)
        return found

    def alternatives(self, prompt_ids: Sequence[int], completion_ids: Sequence[int], count: int) -> Alternatives:
        """See Runner."""
        return [likeliest(row, count) for logits in self._logits(prompt_ids, completion_ids) for row in logits]

    def close(self) -> None:
        """Release the weights."""
        self._waiting.clear()
        self._llama.close()

    def _step(self, *, admits: bool = True) -> list[TokenDelta]:
        self._steps += 1
        if admits:
            self._admit()
        batch, last = self._batch()
        if not batch:
            return []
        try:
            logits = self._llama.decode(batch)
        except RunnerFailed as error:
            return self._give_up(first_line(error))
        deltas = [self._sampled(sequence, row) for sequence, row in zip(last, logits, strict=True)]
        self.tokens += sum(len(delta.ids) for delta in deltas)
        return deltas

    def _batch(self) -> tuple[list[tuple[int, int, int, bool]], list[_Sequence]]:
        """Return the next batch, and the sequences whose logits it gives, in its order."""
        batch: list[tuple[int, int, int, bool]] = []
        last: list[_Sequence] = []
        prompts: list[_Sequence] = []
        for sequence in self._sequences:
            if (generation := sequence.generation) is None:
                continue
            if len(sequence.tokens) < len(generation.prompt):
                prompts.append(sequence)
                continue
            batch.append((generation.ids[-1], len(sequence.tokens), sequence.number, True))
            sequence.tokens.append(generation.ids[-1])
            last.append(sequence)
        room = min(BESIDE if batch else self._llama.rows, self._llama.rows - len(batch))
        for sequence in sorted(prompts, key=lambda one: one.used):
            assert sequence.generation is not None
            begin, prompt = len(sequence.tokens), sequence.generation.prompt
            part = prompt[begin : begin + room]
            batch += [
                (token, begin + index, sequence.number, begin + index + 1 == len(prompt))
                for index, token in enumerate(part)
            ]
            sequence.tokens += part
            room -= len(part)
            if part and len(sequence.tokens) == len(prompt):
                last.append(sequence)
        return batch, last

    def _sampled(self, sequence: _Sequence, logits: Any) -> TokenDelta:
        generation = sequence.generation
        assert generation is not None
        settings = generation.settings
        token, logp = sampled_token(logits, settings, generation.ids)
        if not math.isfinite(logp):
            sequence.generation = None
            return TokenDelta(generation.request_id, finish="error", error="the model's logits are not finite")
        generation.ids.append(token)
        finish: Finish = ""
        if token in settings.end_ids:
            finish = "stop"
        elif len(generation.ids) >= settings.max_tokens:
            finish = "length"
        if finish:
            sequence.generation = None
        return TokenDelta(generation.request_id, (token,), (logp,), finish)

    def _admit(self) -> None:
        """Give waiting generations a sequence, in their order, while there is room for all that they may come to."""
        for generation in list(self._waiting):
            shared, begin = self._like(generation.prompt)
            if self._is_coming(generation.prompt, begin):
                continue
            target = self._target(generation.need, shared, begin)
            if target is None:
                return
            self._waiting.remove(generation)
            if target is not shared:
                self._forget(target)
                if begin:
                    self._llama.copy(shared.number, target.number, begin)
            else:
                self._llama.cut(target.number, begin)
            target.tokens, target.generation, target.used = generation.prompt[:begin], generation, self._steps
            self.reused += begin

    def _like(self, prompt: list[int]) -> tuple[_Sequence, int]:
        """Return the sequence that shares most first tokens with the prompt, and how many; its last one never."""
        found = [(_shared(one.tokens, prompt[:-1]), one.generation is None, one) for one in self._sequences]
        length, _, sequence = max(found, key=lambda entry: entry[:2])
        return sequence, length

    def _is_coming(self, prompt: list[int], begin: int) -> bool:
        """Whether a prompt under way is about to hold more of this one's first tokens, such as that of a twin."""
        under_way = (
            one.generation.prompt
            for one in self._sequences
            if one.generation is not None and len(one.tokens) < len(one.generation.prompt)
        )
        return any(_shared(other, prompt[:-1]) >= begin + WORTH for other in under_way)

    def _target(self, need: int, shared: _Sequence, begin: int) -> _Sequence | None:
        """Return an idle sequence with room for `need` tokens, None without; idle ones are forgotten, oldest first.

        It is `shared` itself where that holds nothing else, or where there is no room for both.
        """
        idle = [one for one in self._sequences if one.generation is None]
        others = sorted((one for one in idle if one is not shared), key=lambda one: (bool(one.tokens), one.used))
        taken = shared if shared in idle and (begin == len(shared.tokens) or not others) else None
        if not self._make_room(need, {shared.number} if taken is None else set(), taken):
            if taken is not None or shared not in idle or not self._make_room(need, set(), shared):
                return None
            taken = shared
        return taken or (others[0] if others else None)

    def _make_room(self, need: int, kept: set[int], taken: _Sequence | None) -> bool:
        """Forget idle sequences but those `kept`, the oldest first, until `need` cells are free; return whether they are.

        The cells of `taken` count as free.
        """
        everyone = [one for one in (*self._sequences, self._scratch) if one is not taken]
        left = self._cells - need - sum(one.room for one in everyone)
        idle = (one for one in everyone if one.generation is None and one.tokens and one.number not in kept)
        for sequence in sorted(idle, key=lambda one: one.used):
            if left >= 0:
                break
            left += len(sequence.tokens)
            self._forget(sequence)
        return left >= 0

    def _forget(self, sequence: _Sequence) -> None:
        self._llama.cut(sequence.number, 0)
        sequence.tokens = []

    def _give_up(self, why: str) -> list[TokenDelta]:
        """End all generations that have a sequence, and forget every key and value."""
        deltas = []
        for sequence in [*self._sequences, self._scratch]:
            if sequence.generation is not None:
                deltas.append(TokenDelta(sequence.generation.request_id, finish="error", error=why))
            sequence.generation, sequence.tokens = None, []
        self._llama.clear()
        return deltas

    def _logits(self, prompt: Sequence[int], completion: Sequence[int]) -> Any:
        """Yield the logits (n, V) of the completion's tokens, in parts that the next one overwrites."""
        ids, first = [*prompt, *completion][:-1], len(prompt) - 1
        while not self._make_room(len(ids), set(), self._scratch):
            self._deltas += self._step(admits=False)  # until open generations end
        begin = _shared(self._scratch.tokens, ids[:first])
        self._llama.cut(self._scratch.number, begin)
        self._scratch.tokens, self._scratch.used = ids[:begin], self._steps
        while begin < len(ids):
            part = ids[begin : begin + ROWS]
            logits = self._llama.decode(
                [
                    (token, begin + index, self._scratch.number, begin + index >= first)
                    for index, token in enumerate(part)
                ]
            )
            self._scratch.tokens += part
            begin += len(part)
            if len(logits):
                yield logits


def _files(source: VersionSource, quantize: str) -> tuple[Any, Any]:
    """Return the GGUF files of a version: base weights and adapter, or merged weights and None."""
    dtype = quantize if quantize != "none" else "f16"
    folder = source.full or resolve_model(source.base)
    base = base_gguf(folder, source.cache, dtype)
    if source.adapter is None or source.full is not None:
        return base, None
    try:
        return base, adapter_gguf(folder, source.adapter, source.cache, source.digest)
    except UnsupportedModel:  # it changes what no adapter of llama.cpp can, such as an output layer that is tied
        return merged_gguf(folder, source.adapter, source.cache, source.digest, dtype), None


def _shared(tokens: Sequence[int], prompt: Sequence[int]) -> int:
    """Return how many first tokens two lists share."""
    low, high = 0, min(len(tokens), len(prompt))
    if tokens[:high] == prompt[:high]:
        return high
    while low < high:  # invariant: the first `low` are equal, the first `high` + 1 are not
        middle = (low + high + 1) // 2
        if tokens[low:middle] == prompt[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _cells(config: dict[str, Any], options: RunnerOptions) -> int:
    """Return how many tokens fit `kv_gib`: at least a context, at most a full batch of contexts, padded."""
    config = config.get("text_config") or config
    heads = config.get("num_key_value_heads") or config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    context = int(config["max_position_embeddings"])
    fitting = int(options.kv_gib * 2**30) // (2 * config["num_hidden_layers"] * heads * size * 2)
    cells = max(context, min(fitting, context * options.max_batch))
    return -(-cells // PADDING) * PADDING


def _threads(options: RunnerOptions) -> int:
    if options.threads:
        return options.threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
