"""OpenVINO GenAI's continuous batching on a CPU. Lives in a worker process: its step() holds Python's lock.

It is fed a GGUF file of the version's merged weights, which is made once and kept in the cache folder under the version's digest.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from policy.errors import UnsupportedModel
from policy.ggufs import reasons_against_gguf, write_gguf
from policy.model import model_config, resolve_model
from policy.runners.base import Finish, RunnerOptions, SamplingSettings, Step, VersionSource

KEPT = 8  # files of the versions used last; any other is made again in a moment
_PRECISION = {"float32": "f32", "bfloat16": "bf16"}


def gguf_of(source: VersionSource, quantize: str) -> Path:
    """Return the GGUF file of a version, written unless the cache has it: float16, since OpenVINO's reader knows no float32."""
    dtype = quantize if quantize != "none" else "f16"
    path = source.cache / f"{source.digest[:32]}-{dtype}.gguf"
    if not path.exists():
        write_gguf(source.full or resolve_model(source.base), source.adapter, path, dtype)
    path.touch()
    for old in sorted(source.cache.glob("*.gguf"), key=lambda file: file.stat().st_mtime, reverse=True)[KEPT:]:
        old.unlink(missing_ok=True)  # a runner that has it open keeps it until it ends
    return path


class OpenVinoEngine:
    """One version's weights with their own batching. `step` makes one token for each open reply; one thread uses it."""

    kind = "openvino"

    def __init__(self, source: VersionSource, options: RunnerOptions) -> None:
        """Load a version. Raises UnsupportedModel for shapes that OpenVINO's reader does not know, or ImportError without the package."""
        import openvino as ov
        import openvino_genai as genai

        config = model_config(str(source.full or source.base))
        reasons = reasons_against_gguf(config)
        if reasons:
            raise UnsupportedModel(f"OpenVINO GenAI cannot load this model: {'; '.join(reasons)}")
        self._ov, self._genai = ov, genai
        self.context_length = int(config["max_position_embeddings"])
        self.vocabulary = int(config["vocab_size"])
        scheduler = genai.SchedulerConfig()
        scheduler.max_num_seqs = options.max_batch
        scheduler.max_num_batched_tokens = max(2048, options.max_batch)
        scheduler.enable_prefix_caching = False  # kept off: recorded log-probs must not depend on who asked before
        scheduler.num_kv_blocks = _blocks(config, options)
        precision = _PRECISION[options.precision]
        properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision, "KV_CACHE_PRECISION": precision}
        if options.threads:
            properties["INFERENCE_NUM_THREADS"] = options.threads
        self._load = lambda: genai.ContinuousBatchingPipeline(str(gguf_of(source, options.quantize)), scheduler, "CPU", properties)
        try:
            self._pipeline = self._load()
        except RuntimeError:  # perhaps a cached file that a crash or a full disk left broken: make it again
            gguf_of(source, options.quantize).unlink()
            self._pipeline = self._load()
        self._scoring: Any = None
        self._handles: dict[str, tuple[Any, frozenset[int]]] = {}
        self._numbers = 0
        self.tokens = 0

    @property
    def busy(self) -> bool:
        """Whether there are open replies."""
        return bool(self._handles)

    @property
    def active(self) -> int:
        """How many replies are open."""
        return len(self._handles)

    def add(self, request_id: str, prompt_ids: Sequence[int], settings: SamplingSettings) -> None:
        """Open a reply; the caller has checked ids and lengths."""
        config = self._genai.GenerationConfig()
        config.max_new_tokens = settings.max_tokens
        config.logprobs = 1
        config.rng_seed = settings.seed % 2**31
        config.stop_token_ids = set(settings.end_ids)
        if settings.end_ids:
            config.eos_token_id = settings.end_ids[0]
        else:
            config.ignore_eos = True
        config.do_sample = settings.temperature > 0
        if config.do_sample:
            config.temperature = settings.temperature
            config.top_p = settings.top_p
            if settings.top_k:
                config.top_k = settings.top_k
        config.presence_penalty = settings.presence_penalty
        config.frequency_penalty = settings.frequency_penalty
        self._handles[request_id] = (self._request(self._pipeline, prompt_ids, config), frozenset(settings.end_ids))

    def cancel(self, request_id: str) -> Step | None:
        """Close a reply; return its last step, None when it is not open."""
        handle = self._handles.pop(request_id, None)
        if handle is None:
            return None
        handle[0].cancel()
        return Step(request_id, finish="cancelled")

    def step(self) -> list[Step]:
        """Make one token for each open reply, and return what came."""
        self._pipeline.step()
        steps = []
        for request_id, (handle, ends) in list(self._handles.items()):
            if (step := self._read(request_id, handle, ends)) is not None:
                steps.append(step)
                self.tokens += len(step.ids)
                if step.finish:
                    del self._handles[request_id]
        return steps

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Return the log-probabilities of each reply's tokens: the prompt is echoed with its own.

        An echoed prompt gets wrong numbers when a request that is not echoed is in the same step, so open replies make this load the
        weights a second time, once, for scoring alone.
        """
        if self.busy and self._scoring is None:
            self._scoring = self._load()
        pipeline = self._scoring if self.busy else self._pipeline
        while pipeline.has_non_finished_requests():  # cancelled ones leave with a step
            pipeline.step()
        config = self._genai.GenerationConfig()
        config.max_new_tokens, config.logprobs, config.echo, config.ignore_eos = 1, 1, True, True
        handles = [self._request(pipeline, [*prompt, *reply], config) for prompt, reply in sequences]
        found: list[list[float]] = [[] for _ in sequences]
        while pipeline.has_non_finished_requests():
            pipeline.step()
        for place, handle in enumerate(handles):
            while handle.can_read():
                for output in handle.read().values():
                    found[place] += output.generated_log_probs
        return [list(values[len(prompt) : len(prompt) + len(reply)]) for values, (prompt, reply) in zip(found, sequences, strict=True)]

    def close(self) -> None:
        """Let go of the weights."""
        self._handles.clear()
        del self._pipeline, self._scoring

    def _request(self, pipeline: Any, ids: Sequence[int], config: Any) -> Any:
        import numpy as np

        self._numbers += 1  # a number used twice at once breaks the pipeline, so none is used twice at all
        return pipeline.add_request(self._numbers, self._ov.Tensor(np.array([ids], dtype=np.int64)), config)

    def _read(self, request_id: str, handle: Any, ends: frozenset[int]) -> Step | None:
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
            return Step(request_id, tuple(ids), tuple(logps)) if ids else None
        finish: Finish = "length"
        if status == statuses.IGNORED:
            return Step(request_id, tuple(ids), tuple(logps), "error", "it does not fit the memory for keys and values (raise kv_gib)")
        if reason == self._genai.GenerationFinishReason.STOP or (ids and ids[-1] in ends):
            finish = "stop"
        return Step(request_id, tuple(ids), tuple(logps), finish)


def _blocks(config: dict[str, Any], options: RunnerOptions) -> int:
    """Return how many blocks of 32 tokens fit `kv_gib`; at least one whole context, at most what a full batch of whole contexts needs."""
    heads = config.get("num_key_value_heads") or config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    bytes_of_block = 32 * 2 * config["num_hidden_layers"] * heads * size * (4 if options.precision == "float32" else 2)
    context = -(-config["max_position_embeddings"] // 32) + 1
    return max(context, min(int(options.kv_gib * 2**30) // bytes_of_block, context * options.max_batch))
