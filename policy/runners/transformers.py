"""transformers' continuous batching, for CUDA and architectures that OpenVINO cannot load, in a worker process.

The paged cache and the scheduler are those of transformers. The sampling is ours (policy/sampler.py), since theirs has
no seed per request, no penalties, and no log-probabilities of the raw model. Two names used here are private in
transformers (`_generation_step`, `_sample`); the pinned version is tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from policy.errors import UnsupportedModel, first_line
from policy.logprobs import response_logps, score_rows
from policy.model import load_merged
from policy.row_layout import Row
from policy.runners.base import Alternatives, Finish, RunnerOptions, SamplingSettings, TokenDelta, VersionSource
from policy.sampler import sampled_tokens
from policy.shared_weights import model_on

PAGE = 32  # tokens: small pages waste little where contexts are short
# Accepted difference (nats) of batching from the plain forward pass; an unsupported architecture is off by far more.
TOLERANCE = {"float32": 0.02, "bfloat16": 0.5}


@dataclass
class _Generation:
    """One open generation."""

    request_id: str
    prompt: Sequence[int]
    settings: SamplingSettings
    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    sent: int = 0

    @property
    def finish(self) -> Finish:
        if self.ids and self.ids[-1] in self.settings.end_ids:
            return "stop"
        return "length" if len(self.ids) >= self.settings.max_tokens else ""


class TransformersEngine:
    """One version's weights with continuous batching, used by one thread. See Runner for the calls."""

    kind = "transformers"
    beside: tuple[str, ...] = ()

    def __init__(self, source: VersionSource, options: RunnerOptions) -> None:
        """Load a version: its adapter merged, or separate over base weights that another process holds.

        Raises UnsupportedModel where continuous batching cannot run the architecture.
        """
        from transformers import GenerationConfig

        if options.quantize != "none":
            raise UnsupportedModel(
                f"the transformers runner has no quantization {options.quantize!r}; use --quantize none"
            )
        if options.threads:
            torch.set_num_threads(options.threads)
        if source.weights and source.full is None:
            self._model = model_on(source.base, source.weights, source.adapter)
        else:
            self._model = load_merged(
                str(source.full or source.base), source.adapter, options.device, options.precision
            )
        self._attention = self._model.config._attn_implementation
        config = self._model.config.get_text_config()
        self.context_length = int(config.max_position_embeddings)
        self.vocabulary = int(self._model.get_output_embeddings().weight.shape[0])
        _respect_soft_caps()
        try:
            generation = GenerationConfig(do_sample=False, eos_token_id=-1)
            self._manager = self._model.init_continuous_batching(generation, self._batching(config, options))
            self._manager.logit_processor.clear()
            self._manager.warmup()  # makes the cache and the batch processor
        except (ValueError, AttributeError, KeyError, NotImplementedError, RuntimeError) as error:
            reason = first_line(error)
            raise UnsupportedModel(f"continuous batching cannot run {type(self._model).__name__}: {reason}") from error
        self._batches: Any = self._manager.batch_processor
        self._batches.model_runner._sample = self._sample
        self._batching_attention = self._model.config._attn_implementation
        self._open: dict[str, _Generation] = {}  # by the scheduler's name
        self._digest = source.digest
        self._names: dict[str, str] = {}  # request id -> the scheduler's name
        self._numbers = 0
        self.tokens = 0
        self._check_itself(TOLERANCE[options.precision])

    @property
    def busy(self) -> bool:
        """Whether there are open generations."""
        return bool(self._open)

    @property
    def active(self) -> int:
        """Number of open generations."""
        return len(self._open)

    def add(self, request_id: str, prompt_ids: Sequence[int], settings: SamplingSettings) -> None:
        """Open a generation; the caller has checked ids and lengths."""
        self._numbers += 1
        name = str(self._numbers)
        ends = list(settings.end_ids) or -1
        self._manager.add_request(
            list(prompt_ids), name, max_new_tokens=settings.max_tokens, streaming=False, eos_token_id=ends
        )
        self._open[name] = _Generation(request_id, prompt_ids, settings)
        self._names[request_id] = name

    def cancel(self, request_id: str) -> TokenDelta | None:
        """Close a generation; return its last delta, None when it is not open. The next `advance` frees its memory."""
        name = self._names.pop(request_id, None)
        if name is None:
            return None
        del self._open[name]
        self._manager.cancel_request(name)
        return TokenDelta(request_id, finish="cancelled")

    def advance(self) -> list[TokenDelta]:
        """Sample one token for each generation in the next batch; return the new deltas."""
        if self._batches.prepare_next_batch():
            self._batches._generation_step(self._model)
            self._batches.update_batch()
        deltas = [
            *self._refused(),
            *(delta for name in list(self._open) if (delta := self._delta_of(name)) is not None),
        ]
        self.tokens += sum(len(delta.ids) for delta in deltas)
        return deltas

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Return the raw log-probabilities of each completion's tokens."""
        rows = [Row(prompt, [completion]) for prompt, completion in sequences]
        with self._plain_attention():
            return [logps[0].tolist() for logps in score_rows(self._model, rows)]

    def fingerprint(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> list[float]:
        """See Runner."""
        with self._plain_attention(), torch.no_grad():
            logits = response_logps(self._model, [Row(prompt_ids, [token_ids[:1]])], want=("logp", "logits")).logits
        assert logits is not None
        logps: list[float] = torch.log_softmax(logits[0].float(), -1)[list(token_ids)].tolist()
        return logps

    def alternatives(self, prompt_ids: Sequence[int], completion_ids: Sequence[int], count: int) -> Alternatives:
        """See Runner."""
        with self._plain_attention(), torch.no_grad():
            logits = response_logps(self._model, [Row(prompt_ids, [completion_ids])], want=("logp", "logits")).logits
        assert logits is not None
        logps, ids = torch.log_softmax(logits.float(), -1).topk(min(count, logits.shape[-1]), dim=-1)
        return [list(zip(*both, strict=True)) for both in zip(ids.tolist(), logps.tolist(), strict=True)]

    def adopt(self, source: VersionSource) -> bool:
        """Return whether these are the weights; others have to be loaded. No prompt is kept anyway."""
        return source.digest == self._digest

    def close(self) -> None:
        """Release the weights and the cache."""
        self._open.clear()
        del self._batches, self._manager, self._model

    @contextmanager
    def _plain_attention(self) -> Iterator[None]:
        """Use the attention of an ordinary forward pass inside a with-block."""
        if self._batching_attention == self._attention:
            yield
            return
        self._model.set_attn_implementation(self._attention)
        try:
            yield
        finally:
            self._model.set_attn_implementation(self._batching_attention)

    def _check_itself(self, tolerance: float) -> None:
        """Raise UnsupportedModel when the paged cache gives other log-probabilities than the plain forward pass."""
        prompt = [(7919 * index + 13) % self.vocabulary for index in range(12)]
        self.add("", prompt, SamplingSettings(temperature=0.0, max_tokens=4))
        deltas = []
        while self.busy:
            deltas += self.advance()
        ids = [token for delta in deltas for token in delta.ids]
        seen = [logp for delta in deltas for logp in delta.logps]
        apart = max(
            (abs(a - b) for a, b in zip(seen, self.score([(prompt, ids)])[0], strict=True)), default=float("inf")
        )
        if not apart <= tolerance:
            name = type(self._model).__name__
            raise UnsupportedModel(f"continuous batching gives other log-probabilities for {name} (by {apart:.2g} nat)")
        self.tokens = 0

    def _delta_of(self, name: str) -> TokenDelta | None:
        generation = self._open[name]
        if len(generation.ids) == generation.sent:
            return None
        delta = TokenDelta(
            generation.request_id,
            tuple(generation.ids[generation.sent :]),
            tuple(generation.logps[generation.sent :]),
            generation.finish,
        )
        generation.sent = len(generation.ids)
        if delta.finish:
            self._forget(name)
        return delta

    def _refused(self) -> list[TokenDelta]:
        """Return the last deltas of generations that the scheduler gave up."""
        deltas = []
        while (output := self._manager.get_result(timeout=0)) is not None:
            if output.error is not None and output.request_id in self._open:
                deltas.append(TokenDelta(self._open[output.request_id].request_id, finish="error", error=output.error))
                self._forget(output.request_id)
        return deltas

    def _forget(self, name: str) -> None:
        self._names.pop(self._open.pop(name).request_id, None)

    def _sample(self, scores: Tensor, output_ids: Tensor) -> None:
        """Replace the model runner's sampling.

        `scores` (1, B, V) are raw logits, a row for each generation whose prompt is processed, then padding. The
        tokens are written to `output_ids` (1, ...).
        """
        batch = [
            future.state.request_id
            for future in self._batches.inputs_and_outputs.requests_in_batch
            if future.has_new_token
        ]
        if not batch:  # only parts of prompts are in this batch
            return
        generations = [self._open.get(name) for name in batch]  # None: cancelled since it was scheduled
        settings = [
            generation.settings if generation else SamplingSettings(temperature=0.0) for generation in generations
        ]
        tokens, logps = sampled_tokens(
            scores[0, : len(batch)],
            settings,
            [generation.ids if generation else () for generation in generations],
            [generation.prompt if generation else () for generation in generations],
        )
        for generation, token, logp in zip(generations, tokens, logps, strict=True):
            if generation is not None:
                generation.ids.append(token)
                generation.logps.append(logp)
        output_ids[0, : len(tokens)].copy_(torch.tensor(tokens, dtype=output_ids.dtype))

    def _batching(self, config: Any, options: RunnerOptions) -> Any:
        from transformers.generation import ContinuousBatchingConfig

        width = 4 if options.precision == "float32" else 2
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        block = PAGE * 2 * config.num_hidden_layers * heads * size * width
        context = -(-self.context_length // PAGE) + 1
        return ContinuousBatchingConfig(
            page_size=PAGE,
            num_blocks=max(context, min(int(options.kv_gib * 2**30) // block, context * options.max_batch)),
            max_batch_tokens=max(256, options.max_batch),
            max_requests_per_batch=options.max_batch,
            allow_block_sharing=False,  # recorded log-probs must not depend on earlier requests
            use_async_batching=False,
            use_cuda_graph=False,  # our sampling reads settings and histories on the host
            auto_switch_to_flash=options.precision != "float32",
        )


def _respect_soft_caps() -> None:
    """Make transformers' paged eager attention apply the soft cap of attention scores (Gemma 2), which it ignores."""
    from transformers.integrations.eager_paged import eager_paged_attention_forward, repeat_kv
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    def forward(
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float,
        softcap: float | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        if softcap is None:
            return eager_paged_attention_forward(module, query, key, value, attention_mask, scaling, **kwargs)
        key, value = kwargs["cache"].update(
            key_states=key, value_states=value, layer_idx=module.layer_idx, kwargs=kwargs
        )
        groups: Any = getattr(module, "num_key_value_groups", 1)
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
        scores = softcap * torch.tanh(query @ key.transpose(2, 3) * scaling / softcap)
        if attention_mask is not None:
            scores = scores + attention_mask
        weights = torch.softmax(scores, -1, dtype=torch.float32).to(query.dtype)
        return (weights @ value).transpose(1, 2).contiguous(), weights

    ALL_ATTENTION_FUNCTIONS.register("paged|eager", forward)
