"""OpenVINO GenAI's continuous batching on a CPU, for a worker process, since its step() holds the GIL.

It loads an OpenVINO model of the version's merged weights (policy/openvino_versions.py), which the cache folder keeps
under the version's digest. Matrices stay float16 in memory. What earlier requests left of a prompt's first blocks of
32 tokens is not computed again.
"""

import os
from collections.abc import Sequence
from typing import Any

from policy.errors import UnsupportedModel, first_line
from policy.model import model_config
from policy.openvino_ir import MODEL, reasons_against_openvino
from policy.openvino_versions import discard, ir_of
from policy.runners.base import Alternatives, Finish, RunnerOptions, SamplingSettings, TokenDelta, VersionSource
from policy.runners.openvino_forward import Forward

BEAMS = 2  # times the tokens of a fingerprint: those are the likeliest, and few others are as likely
_PRECISION = {"float32": "f32", "bfloat16": "bf16"}


def _may_be_one_thread(threads: int) -> bool:
    """Return whether a single thread may compute a model. In bfloat16 with AMX that crashes OpenVINO 2026.4.

    Its own choice is one thread for each core, and two CPUs may be one core.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return threads == 1 or cpus <= (1 if threads else 2)


class OpenVinoEngine:
    """One version's weights with continuous batching, used by one thread. See Runner for the calls."""

    kind = "openvino"
    beside = ("alternatives",)  # calls that may run on another thread during `advance`

    def __init__(self, source: VersionSource, options: RunnerOptions) -> None:
        """Load a version. Raises UnsupportedModel for an unknown architecture, ImportError without the package."""
        import openvino as ov
        import openvino_genai as genai

        if options.quantize in ("q4_k", "file"):
            lead = f"OpenVINO does not run weights of the kind {options.quantize}"
            raise UnsupportedModel(f"{lead}; set engine.quantize to q4_0, or engine.runner to llamacpp")
        config = model_config(str(source.full or source.base))
        reasons = reasons_against_openvino(config)
        if reasons:
            raise UnsupportedModel(f"OpenVINO GenAI cannot load this model: {'; '.join(reasons)}")
        self._ov, self._genai = ov, genai
        self.context_length = int(config["max_position_embeddings"])
        self.vocabulary = int(config["vocab_size"])
        scheduler = genai.SchedulerConfig()
        scheduler.max_num_seqs = options.max_batch
        scheduler.max_num_batched_tokens = max(2048, options.max_batch)
        scheduler.enable_prefix_caching = (
            options.keep_prompts
        )  # of this version's own requests; it moves log-probabilities by 2e-5
        scheduler.num_kv_blocks = _blocks(config, options)
        precision = _PRECISION[options.precision]
        if precision == "bf16" and _may_be_one_thread(options.threads):  # read when the first model is compiled
            os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
        # 0: weights may be quantized, activations not; the default of 32 adds an error of 0.02 nats to log-probs
        properties: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": precision,
            "KV_CACHE_PRECISION": precision,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        }
        if options.threads:
            properties["INFERENCE_NUM_THREADS"] = options.threads
        self._folder = lambda: ir_of(source, options)
        self._load = lambda: genai.ContinuousBatchingPipeline(str(self._folder()), scheduler, "CPU", properties)
        try:
            self._pipeline = self._load()
        except RuntimeError:  # perhaps a crash or a full disk damaged the cached files: write them again
            discard(source, options)
            self._pipeline = self._load()
        self._compile = lambda: ov.Core().compile_model(str(self._folder() / MODEL), "CPU", properties)
        self._forward = Forward(self._compile)
        self._handles: dict[str, tuple[Any, frozenset[int]]] = {}
        self._numbers = 0
        self._digest, self._options = source.digest, options
        self.tokens = 0

    @property
    def busy(self) -> bool:
        """Whether there are open generations."""
        return bool(self.active)

    @property
    def active(self) -> int:
        """Number of open generations."""
        return len(self._handles) + self._forward.active

    def add(self, request_id: str, prompt_ids: Sequence[int], settings: SamplingSettings) -> None:
        """Open a generation; the caller has checked ids and lengths."""
        if settings.repetition_penalty != 1.0:
            self._forward.add(request_id, prompt_ids, settings)
            return
        config = self._genai.GenerationConfig()
        config.max_new_tokens = settings.max_tokens
        config.logprobs = 1
        config.rng_seed = settings.seed % 2**31
        if settings.end_ids:
            config.stop_token_ids = set(settings.end_ids)
            config.eos_token_id = settings.end_ids[0]
        else:
            _end_nowhere(config)
        config.do_sample = settings.temperature > 0
        if config.do_sample:
            config.temperature = settings.temperature
            config.top_p = settings.top_p
            if settings.top_k:
                config.top_k = settings.top_k
        config.presence_penalty = settings.presence_penalty
        config.frequency_penalty = settings.frequency_penalty
        config.min_p = settings.min_p
        self._handles[request_id] = (self._request(self._pipeline, prompt_ids, config), frozenset(settings.end_ids))

    def cancel(self, request_id: str) -> TokenDelta | None:
        """Close a generation; return its last delta, None when it is not open."""
        if self._forward.cancel(request_id):
            return TokenDelta(request_id, finish="cancelled")
        handle = self._handles.pop(request_id, None)
        if handle is None:
            return None
        handle[0].cancel()
        return TokenDelta(request_id, finish="cancelled")

    def advance(self) -> list[TokenDelta]:
        """Sample one token for each open generation; return the new deltas."""
        deltas = self._forward.advance()
        self.tokens += sum(len(delta.ids) for delta in deltas)
        if not self._handles:
            return deltas
        self._pipeline.step()
        for request_id, (handle, ends) in list(self._handles.items()):
            if (delta := self._step_of(request_id, handle, ends)) is not None:
                deltas.append(delta)
                self.tokens += len(delta.ids)
                if delta.finish:
                    del self._handles[request_id]
        return deltas

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Return the raw log-probabilities of each completion's tokens, by echoing it as a prompt.

        Echoed numbers are wrong when a request without echo is in the same batch, and missing where the keys and values
        of earlier requests are used. Those completions are computed by the plain model.
        """
        sequences = list(sequences)
        found = [[] for _ in sequences] if self._handles else self._echoed(sequences)
        for index, (prompt, completion) in enumerate(sequences):
            if len(found[index]) < len(completion):
                found[index] = self._forward.score(prompt, completion)
        return found

    def fingerprint(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> list[float]:
        """See Runner. The likeliest tokens are the first step of a beam search, which computes the prompt once."""
        config = self._genai.GenerationConfig()
        config.max_new_tokens, config.logprobs = 1, 1
        config.num_beams = config.num_return_sequences = min(self.vocabulary, BEAMS * len(token_ids))
        _end_nowhere(config)
        handle = self._request(self._pipeline, prompt_ids, config)
        likeliest: dict[int, float] = {}
        while handle.get_status() == self._genai.GenerationStatus.RUNNING:
            self._pipeline.step()
        while handle.can_read():
            for output in handle.read().values():
                likeliest.update(zip(output.generated_ids, output.generated_log_probs, strict=True))
        others = [token for token in token_ids if token not in likeliest]
        scored = [values[0] for values in self.score([(prompt_ids, [token]) for token in others])]
        likeliest.update(zip(others, scored, strict=True))
        return [likeliest[token] for token in token_ids]

    def alternatives(self, prompt_ids: Sequence[int], completion_ids: Sequence[int], count: int) -> Alternatives:
        """See Runner. Any thread may call it: it uses its own copy of the weights, loaded at the first call."""
        return self._forward.alternatives(prompt_ids, completion_ids, count)

    def _echoed(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Return the log-probabilities of completions that the pipeline echoes: all of them, or none."""
        pipeline = self._pipeline
        while pipeline.has_non_finished_requests():  # a step removes cancelled requests
            pipeline.step()
        config = self._genai.GenerationConfig()
        config.max_new_tokens, config.logprobs, config.echo = 1, 1, True
        _end_nowhere(config)
        handles = [self._request(pipeline, [*prompt, *completion], config) for prompt, completion in sequences]
        while pipeline.has_non_finished_requests():
            pipeline.step()
        found: list[list[float]] = []
        for handle, (_, completion) in zip(handles, sequences, strict=True):
            values: list[float] = []
            while handle.can_read():
                for output in handle.read().values():
                    values += output.generated_log_probs
            echoed = values[1:-1] if len(values) > 1 else []  # without the first token's number and the sampled token
            found.append(echoed[len(echoed) - len(completion) :] if len(echoed) >= len(completion) else [])
        return found

    def adopt(self, source: VersionSource) -> bool:
        """Take on other weights of the same shape, without open generations; returns True.

        Raises as loading does. Then nothing is loaded, and the process is of no more use.
        """
        if source.digest != self._digest:
            self._folder = lambda: ir_of(source, self._options)
            self._digest, self._pipeline, self._forward = source.digest, None, Forward(self._compile)
            self._pipeline = self._load()
        return True

    def close(self) -> None:
        """Release the weights."""
        self._handles.clear()
        del self._pipeline, self._forward

    def _request(self, pipeline: Any, ids: Sequence[int], config: Any) -> Any:
        import numpy as np

        self._numbers += 1  # two open requests with one number break the pipeline
        return pipeline.add_request(self._numbers, self._ov.Tensor(np.array([ids], dtype=np.int64)), config)

    def _step_of(self, request_id: str, handle: Any, ends: frozenset[int]) -> TokenDelta | None:
        """Return what a generation gained; one that cannot be read ends, and no other."""
        try:
            return self._read(request_id, handle, ends)
        except Exception as error:
            handle.cancel()
            return TokenDelta(request_id, finish="error", error=first_line(error))

    def _read(self, request_id: str, handle: Any, ends: frozenset[int]) -> TokenDelta | None:
        ids: list[int] = []
        logps: list[float] = []
        reason = self._genai.GenerationFinishReason.NONE
        while handle.can_read():
            for output in handle.read().values():
                ids += output.generated_ids
                logps += output.generated_log_probs
                reason = output.finish_reason
        status, statuses = handle.get_status(), self._genai.GenerationStatus
        if status == statuses.RUNNING:
            return TokenDelta(request_id, tuple(ids), tuple(logps)) if ids else None
        finish: Finish = "length"
        if status == statuses.IGNORED:
            return TokenDelta(
                request_id,
                tuple(ids),
                tuple(logps),
                "error",
                "it does not fit the memory for keys and values; raise kv_gib",
            )
        if reason == self._genai.GenerationFinishReason.STOP or (ids and ids[-1] in ends):
            finish = "stop"
        return TokenDelta(request_id, tuple(ids), tuple(logps), finish)


def _end_nowhere(config: Any) -> None:
    config.set_eos_token_id(0)  # it needs one, and ignores it
    config.ignore_eos = True


def _blocks(config: dict[str, Any], options: RunnerOptions) -> int:
    """Return how many blocks of 32 tokens fit `kv_gib`: at least one context, at most a full batch of contexts."""
    heads = config.get("num_key_value_heads") or config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    bytes_of_block = 32 * 2 * config["num_hidden_layers"] * heads * size * (4 if options.precision == "float32" else 2)
    context = -(-config["max_position_embeddings"] // 32) + 1
    return max(context, min(int(options.kv_gib * 2**30) // bytes_of_block, context * options.max_batch))
