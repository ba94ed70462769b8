"""llama.cpp with the house's sampling, for a worker process: every processor, and weights of 4 to 32 bits.

The base weights are one GGUF file in the cache folder, which all versions map; a learned version is an adapter beside
it. Short generations have memory of their own, which is fastest; long ones share what is left.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from policy.array_sampler import likeliest, token_logps
from policy.errors import UnsupportedModel
from policy.gguf_files import adapter_gguf, base_gguf, merged_gguf
from policy.gguf_folder import gguf_of
from policy.gguf_shapes import context_of, head_size, reasons_against_gguf
from policy.memory import is_small
from policy.model import read_config, resolve_model
from policy.runners.base import Alternatives, RunnerOptions, SamplingSettings, TokenDelta, VersionSource
from policy.runners.llamacpp_library import F16, F32, Llama, Shape, Weights, library
from policy.runners.llamacpp_schedule import ROWS, Generation, Schedule
from policy.runners.thread_choice import ThreadChoice
from policy.weights import Array

OUTPUTS = 64  # tokens whose logits are held at once for scores
MOST = 255  # sequences: llama.cpp's limit, less one for scores
USUAL = 32  # sequences where memory is short
SHORT = 512  # least tokens of a sequence with cells of its own, where a whole context for each does not fit
AHEAD = 256  # tokens that an answer is expected to have at most; a longer one moves
SPINS = "1000"  # about 40 microseconds
PADDING = 256  # cells: llama.cpp rounds up to a multiple


class LlamaCppEngine:
    """One version's weights with continuous batching, used by one thread. See Runner for the calls."""

    kind = "llamacpp"
    beside: tuple[str, ...] = ()

    def __init__(self, source: VersionSource, options: RunnerOptions) -> None:
        """Load a version. Raises UnsupportedModel for an unknown architecture, ImportError without the package."""
        most = options.threads or _cpus()
        _set_openmp(most)
        self._threads = ThreadChoice(most, is_fixed=bool(options.threads))
        library()
        folder = source.full or resolve_model(source.base)
        config = read_config(folder)
        if reasons := reasons_against_gguf(config):
            raise UnsupportedModel(f"llama.cpp cannot load this model: {'; '.join(reasons)}")
        self.context_length = context_of(config)
        self._options = options
        self._weights = Weights(*_files(source, folder, options))
        self.vocabulary = self._weights.vocabulary
        self._shapes = _shapes(config, options, F32 if options.precision == "float32" else F16)
        self._llamas: list[Llama] = []
        self._schedules: list[Schedule] = []
        self._schedule(0)
        self._deltas: list[TokenDelta] = []  # of steps that were taken to make room
        self.tokens = 0

    @property
    def busy(self) -> bool:
        """Whether there are open generations, or deltas to collect."""
        return bool(self._deltas or self.active)

    @property
    def active(self) -> int:
        """Number of open generations."""
        return sum(schedule.active for schedule in self._schedules)

    @property
    def reused(self) -> int:
        """Prompt tokens that were not computed again."""
        return sum(schedule.reused for schedule in self._schedules)

    def add(self, request_id: str, prompt_ids: Sequence[int], settings: SamplingSettings) -> None:
        """Open a generation; the caller has checked ids and lengths."""
        generation = Generation(request_id, list(prompt_ids), settings)
        first = self._schedules[0]
        fits = len(prompt_ids) + min(settings.max_tokens, AHEAD) <= first.length and not first.is_full
        self._schedule(0 if fits else len(self._shapes) - 1).waiting.append(generation)

    def cancel(self, request_id: str) -> TokenDelta | None:
        """Close a generation; return its last delta, None when it is not open."""
        if not any(schedule.cancel(request_id) for schedule in self._schedules):
            return None
        self._deltas = [delta for delta in self._deltas if delta.request_id != request_id]
        return TokenDelta(request_id, finish="cancelled")

    def advance(self) -> list[TokenDelta]:
        """Sample one token for each open generation whose prompt is computed; return the new deltas."""
        deltas, self._deltas = self._deltas, []
        for schedule in self._schedules:
            if schedule.active:
                deltas += schedule.step()
        self._move_outgrown()
        self.tokens += sum(len(delta.ids) for delta in deltas)
        return deltas

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Return the raw log-probabilities of each completion's tokens."""
        found: list[list[float]] = []
        for prompt, completion in sequences:
            logps: list[float] = []
            for rows in self._logits(prompt, completion):
                logps += token_logps(rows, completion[len(logps) : len(logps) + len(rows)])
            found.append(logps)
        return found

    def fingerprint(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> list[float]:
        """See Runner."""
        (rows,) = (np.array(rows) for rows in self._logits(prompt_ids, token_ids[:1]))
        return token_logps(np.broadcast_to(rows[0], (len(token_ids), rows.shape[1])), token_ids)

    def alternatives(self, prompt_ids: Sequence[int], completion_ids: Sequence[int], count: int) -> Alternatives:
        """See Runner."""
        return [likeliest(row, count) for rows in self._logits(prompt_ids, completion_ids) for row in rows]

    def adopt(self, source: VersionSource) -> bool:
        """Take on another adapter over the same weights, without open generations, and forget all prompts.

        Returns False for other weights. Raises UnsupportedModel.
        """
        weights, adapter = _files(source, source.full or resolve_model(source.base), self._options)
        if weights != self._weights.files[0]:
            return False
        if adapter != self._weights.files[1]:
            self._weights.take(adapter)
            for llama in self._llamas:
                llama.adapt(self._weights)
        for llama in self._llamas:
            llama.clear()
        self._schedules = [Schedule(llama) for llama in self._llamas]
        return True

    def close(self) -> None:
        """Release memory and weights."""
        for llama in self._llamas:
            llama.close()
        self._llamas, self._schedules = [], []
        self._weights.close()

    def _schedule(self, index: int) -> Schedule:
        """Return the schedule of a shape; the memory for long generations is made when one comes."""
        while len(self._schedules) <= index:
            self._llamas.append(Llama(self._weights, self._shapes[len(self._llamas)], self._threads))
            self._schedules.append(Schedule(self._llamas[-1]))
        return self._schedules[index]

    def _move_outgrown(self) -> None:
        outgrown, self._schedules[0].outgrown = self._schedules[0].outgrown, []
        for generation in outgrown:
            generation.restart()
            self._schedule(len(self._shapes) - 1).waiting.append(generation)

    def _logits(self, prompt: Sequence[int], completion: Sequence[int]) -> Any:
        """Yield the logits (n, V) of the completion's tokens, in parts that the next one overwrites."""
        fits = len(prompt) + len(completion) <= self._schedules[0].length
        rows: Array | None
        for rows, deltas in self._schedule(0 if fits else len(self._shapes) - 1).logits(prompt, completion):
            self._deltas += deltas
            self._move_outgrown()
            if rows is not None:
                yield rows


def _files(source: VersionSource, folder: Path, options: RunnerOptions) -> tuple[Path, Path | None]:
    """Return the GGUF files of a version: base weights and adapter, or merged weights and None."""
    dtype = options.quantize if options.quantize != "none" else "f32" if is_small(folder, options) else "f16"
    if dtype == "file" and source.full is None:
        base, dtype = _own_file(folder), "f16"  # merged weights are in no file that somebody brought
    else:
        dtype = "f16" if dtype == "file" else dtype
        base = base_gguf(folder, source.cache if source.full is None else source.made, dtype)
    if source.adapter is None or source.full is not None:
        return base, None
    try:
        return base, adapter_gguf(folder, source.adapter, source.made, source.digest)
    except UnsupportedModel:  # it changes what llama.cpp does not adapt, such as an output layer that is the embeddings
        return merged_gguf(folder, source.adapter, source.made, source.digest, dtype), None


def _own_file(folder: Path) -> Path:
    """Return the GGUF file that the model came from. Raises UnsupportedModel where there is none."""
    path = gguf_of(folder)
    if path is None:
        lead = f"engine.quantize is file, but the model in {folder} came from no GGUF file, or that is gone"
        raise UnsupportedModel(f"{lead}; name the file with --model, or choose q8_0")
    return path


def _shapes(config: dict[str, Any], options: RunnerOptions, kind: int) -> list[Shape]:
    """Return the memory within `kv_gib`: for short generations, and for long ones unless a context is short."""
    heads = config.get("num_key_value_heads") or config["num_attention_heads"]
    bytes_of_token = 2 * config["num_hidden_layers"] * heads * head_size(config) * (4 if kind == F32 else 2)
    fitting = int(options.kv_gib * 2**30) // bytes_of_token
    context, number = _padded(context_of(config)), min(options.max_batch, MOST)

    def shape(cells: int, sequences: int, kind: int, *, is_shared: bool = False) -> Shape:
        return Shape(cells, sequences, ROWS + sequences, max(OUTPUTS, sequences), is_shared, kind)

    if context * (number + 1) <= fitting or context <= SHORT:
        number = max(1, min(number, fitting // context - 1))
        return [shape(context * (number + 1), number + 1, kind)]
    usual = min(number, USUAL) + 1
    length = min(context, max(SHORT, fitting * 3 // 4 // usual // PADDING * PADDING))
    number = max(1, min(number, fitting * 3 // 4 // length - 1))
    cells = max(context, _padded(fitting - length * (number + 1)))
    return [shape(length * (number + 1), number + 1, kind), shape(cells, usual, F16, is_shared=True)]


def _padded(tokens: int) -> int:
    return -(-tokens // PADDING) * PADDING


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _set_openmp(threads: int) -> None:
    """Set how threads wait, before the library is loaded, unless the environment says so.

    They meet hundreds of times for each token. Without a limit they spin, which takes the CPU from whoever they wait
    for: 2 tokens/s were seen instead of 58. Without spinning, waking them takes longer than the work. Each stays free
    to move: a thread that is bound to a busy CPU holds up all others.
    """
    if threads > 1 and not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS
