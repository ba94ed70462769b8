"""The C interface of llama.cpp, as the wheels of `xllamacpp` export it; only what the runner calls.

The package's own class is a server that samples by itself. Its shared library exports all of llama.h. Two structures
of it change between releases, so `library` compares their default values with this layout and refuses another one.
"""

import contextlib
import ctypes
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from policy.errors import RunnerFailed, UnsupportedModel
from policy.runners.thread_choice import ThreadChoice
from policy.weights import Array

TESTED = "2026.10.11549"  # the release of xllamacpp with this layout
F16, F32 = 1, 0  # ggml_type
MMAP = 1  # llama_load_mode
_NO_ROOM = 1  # what llama_decode returns when the cells are used up
_POINTER, _INT, _UINT, _FLOAT, _BOOL = ctypes.c_void_p, ctypes.c_int32, ctypes.c_uint32, ctypes.c_float, ctypes.c_bool


class ModelParams(ctypes.Structure):
    """llama_model_params."""

    _fields_ = [
        ("devices", _POINTER),
        ("tensor_buft_overrides", _POINTER),
        ("n_gpu_layers", _INT),
        ("split_mode", _INT),
        ("load_mode", _INT),
        ("lazy_mode", _INT),
        ("main_gpu", _INT),
        ("tensor_split", _POINTER),
        ("progress_callback", _POINTER),
        ("progress_callback_user_data", _POINTER),
        ("kv_overrides", _POINTER),
        ("vocab_only", _BOOL),
        ("check_tensors", _BOOL),
        ("use_extra_bufts", _BOOL),
        ("no_host", _BOOL),
        ("no_alloc", _BOOL),
        ("load_mtp", _BOOL),
    ]


class ContextParams(ctypes.Structure):
    """llama_context_params."""

    _fields_ = [
        ("n_ctx", _UINT),
        ("n_batch", _UINT),
        ("n_ubatch", _UINT),
        ("n_seq_max", _UINT),
        ("n_rs_seq", _UINT),
        ("n_outputs_max", _UINT),
        ("n_outputs_max_per_seq", _UINT),
        ("n_threads", _INT),
        ("n_threads_batch", _INT),
        ("ctx_type", _INT),
        ("rope_scaling_type", _INT),
        ("pooling_type", _INT),
        ("attention_type", _INT),
        ("flash_attn_type", _INT),
        ("rope_freq_base", _FLOAT),
        ("rope_freq_scale", _FLOAT),
        ("yarn_ext_factor", _FLOAT),
        ("yarn_attn_factor", _FLOAT),
        ("yarn_beta_fast", _FLOAT),
        ("yarn_beta_slow", _FLOAT),
        ("yarn_orig_ctx", _UINT),
        ("defrag_thold", _FLOAT),
        ("cb_eval", _POINTER),
        ("cb_eval_user_data", _POINTER),
        ("type_k", _INT),
        ("type_v", _INT),
        ("reserved", _POINTER * 3),  # callbacks, unused here
        ("embeddings", _BOOL),
        ("offload_kqv", _BOOL),
        ("no_perf", _BOOL),
        ("op_offload", _BOOL),
        ("swa_full", _BOOL),
        ("kv_unified", _BOOL),
        ("samplers", _POINTER),
        ("n_samplers", ctypes.c_size_t),
        ("ctx_other", _POINTER),
    ]


class Batch(ctypes.Structure):
    """llama_batch."""

    _fields_ = [
        ("n_tokens", _INT),
        ("token", _POINTER),
        ("embd", _POINTER),
        ("pos", _POINTER),
        ("n_seq_id", _POINTER),
        ("seq_id", _POINTER),
        ("logits", _POINTER),
    ]


_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, _POINTER)
_CALLS: dict[str, tuple[Any, list[Any]]] = {
    "llama_backend_init": (None, []),
    "llama_log_set": (None, [_LOG, _POINTER]),
    "llama_model_default_params": (ModelParams, []),
    "llama_context_default_params": (ContextParams, []),
    "llama_model_load_from_file": (_POINTER, [ctypes.c_char_p, ModelParams]),
    "llama_model_free": (None, [_POINTER]),
    "llama_model_get_vocab": (_POINTER, [_POINTER]),
    "llama_vocab_n_tokens": (_INT, [_POINTER]),
    "llama_init_from_model": (_POINTER, [_POINTER, ContextParams]),
    "llama_free": (None, [_POINTER]),
    "llama_get_memory": (_POINTER, [_POINTER]),
    "llama_memory_clear": (None, [_POINTER, _BOOL]),
    "llama_memory_seq_rm": (_BOOL, [_POINTER, _INT, _INT, _INT]),
    "llama_memory_seq_cp": (None, [_POINTER, _INT, _INT, _INT, _INT]),
    "llama_decode": (_INT, [_POINTER, Batch]),
    "llama_set_n_threads": (None, [_POINTER, _INT, _INT]),
    "llama_get_logits": (_POINTER, [_POINTER]),
    "llama_adapter_lora_init": (_POINTER, [_POINTER, ctypes.c_char_p]),
    "llama_adapter_lora_free": (None, [_POINTER]),
    "llama_set_adapters_lora": (_INT, [_POINTER, _POINTER, ctypes.c_size_t, _POINTER]),
    "ggml_quantize_chunk": (
        ctypes.c_size_t,
        [_INT, _POINTER, _POINTER, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, _POINTER],
    ),
}
_last_lines: list[str] = []  # of the log, for the reason of a failure


def is_installed() -> bool:
    """Return whether the package is here."""
    return importlib.util.find_spec("xllamacpp") is not None


@cache
def library() -> Any:
    """Return llama.cpp's functions, typed. Raises ImportError without the package or with another layout."""
    found = importlib.util.find_spec("xllamacpp")
    folders = found.submodule_search_locations if found is not None else None
    paths = sorted(Path(folders[0]).glob("xllamacpp*.so")) if folders else []
    if not paths:
        raise ImportError(f"llama.cpp is not installed; pip install xllamacpp=={TESTED}")
    functions = ctypes.CDLL(str(paths[0]))
    for name, (result, arguments) in _CALLS.items():
        try:
            function = getattr(functions, name)
        except AttributeError as error:
            raise ImportError(f"xllamacpp {_release()} has no {name}; pip install xllamacpp=={TESTED}") from error
        function.restype, function.argtypes = result, arguments
    if not _has_this_layout(functions):
        raise ImportError(f"xllamacpp {_release()} has structures of another layout; pip install xllamacpp=={TESTED}")
    functions.llama_log_set(_keep_line, None)
    functions.llama_backend_init()
    return functions


def _release() -> str:
    try:
        return version("xllamacpp")
    except PackageNotFoundError:
        return "of unknown version"


def _has_this_layout(functions: Any) -> bool:
    """Whether the default values are where this layout has them: any field that is added or moved shifts some."""
    model, context = functions.llama_model_default_params(), functions.llama_context_default_params()
    seen = (
        *(model.n_gpu_layers, model.split_mode, model.load_mode, model.lazy_mode, model.main_gpu),
        *(model.vocab_only, model.check_tensors, model.use_extra_bufts, model.no_host, model.no_alloc),
        *(context.n_ctx, context.n_batch, context.n_ubatch, context.n_seq_max, context.n_outputs_max),
        *(context.n_threads, context.n_threads_batch, context.ctx_type, context.rope_scaling_type),
        *(context.attention_type, context.flash_attn_type, context.yarn_beta_slow, context.defrag_thold),
        *(context.type_k, context.type_v, context.embeddings, context.offload_kqv, context.no_perf),
        *(context.op_offload, context.swa_full, context.kv_unified, context.n_samplers, context.ctx_other),
    )
    return seen == (
        *(-1, 1, -1, 1, 0),
        *(False, False, True, False, False),
        *(512, 2048, 512, 1, 0),
        *(4, 4, 0, -1),
        *(-1, -1, -1.0, -1.0),
        *(F16, F16, False, True, True),
        *(True, True, False, 0, None),
    )


def _note(level: int, text: bytes, _: Any) -> None:
    with contextlib.suppress(Exception):  # nobody could catch it
        if level == 4 and text.strip():  # an error
            _last_lines.append(text.decode(errors="replace").strip())
            del _last_lines[:-4]


_keep_line = _LOG(_note)  # kept here: llama.cpp holds a bare pointer to it


def reason() -> str:
    """Return what llama.cpp last logged as an error, and forget it."""
    lines, _last_lines[:] = list(_last_lines), []
    return "; ".join(lines) or "llama.cpp gave no reason"


class Weights:
    """A model's weights, mapped from a GGUF file, with an adapter beside them."""

    def __init__(self, path: Path, adapter: Path | None) -> None:
        """Load the files. Raises UnsupportedModel with llama.cpp's reason."""
        self._calls = library()
        settings = self._calls.llama_model_default_params()
        settings.load_mode = MMAP
        self.model = self._calls.llama_model_load_from_file(bytes(path), settings)
        if not self.model:
            raise UnsupportedModel(f"llama.cpp cannot load this model: {reason()}")
        self.files: tuple[Path, Path | None] = (path, None)
        self.adapter: int | None = None
        self.take(adapter)
        self.vocabulary = int(self._calls.llama_vocab_n_tokens(self._calls.llama_model_get_vocab(self.model)))

    def take(self, adapter: Path | None) -> None:
        """Load another adapter, or none, in place of the present one. Then every context has to `adapt` before work.

        Raises UnsupportedModel with llama.cpp's reason.
        """
        loaded = self._calls.llama_adapter_lora_init(self.model, bytes(adapter)) if adapter is not None else None
        if adapter is not None and not loaded:
            raise UnsupportedModel(f"llama.cpp cannot load this adapter: {reason()}")
        if self.adapter:
            self._calls.llama_adapter_lora_free(self.adapter)
        self.files, self.adapter = (self.files[0], adapter), loaded

    def close(self) -> None:
        """Release the weights, after all contexts."""
        if self.model:
            self._calls.llama_model_free(self.model)
        self.model = None


@dataclass(frozen=True)
class Shape:
    """The memory of a context: `cells` tokens for sequences 0 to `sequences` - 1.

    A batch holds at most `rows` tokens, and the logits of at most `outputs` of them are wanted.

    `is_shared`: any sequence may take any cell, and sequences may share them; otherwise each has an equal part of its
    own. Attention over shared cells is slower, since all sequences scan those in use. `kind` is the type of a number.
    """

    cells: int
    sequences: int
    rows: int
    outputs: int
    is_shared: bool
    kind: int = F16


class Llama:
    """A context: the computation and its memory for keys and values."""

    def __init__(self, weights: Weights, shape: Shape, threads: ThreadChoice) -> None:
        """Make room. Raises UnsupportedModel with llama.cpp's reason."""
        self._calls, self.shape, self.vocabulary = library(), shape, weights.vocabulary
        self._context = self._calls.llama_init_from_model(weights.model, self._settings(shape))
        if not self._context:
            raise UnsupportedModel(f"llama.cpp cannot make room for {shape.cells} tokens: {reason()}")
        self.adapt(weights)
        self._memory = self._calls.llama_get_memory(self._context)
        self._threads = threads
        rows = shape.rows
        self._tokens, self._positions, self._owners = (np.zeros(rows, np.int32) for _ in range(3))
        self._ones, self._wanted = np.ones(rows, np.int32), np.zeros(rows, np.int8)
        self._pointers = self._owners.ctypes.data + 4 * np.arange(rows, dtype=np.uint64)

    def _settings(self, shape: Shape) -> ContextParams:
        settings: ContextParams = self._calls.llama_context_default_params()
        settings.n_ctx, settings.n_seq_max, settings.kv_unified = shape.cells, shape.sequences, shape.is_shared
        settings.n_batch = settings.n_ubatch = shape.rows
        settings.n_outputs_max = settings.n_outputs_max_per_seq = shape.outputs
        settings.type_k = settings.type_v = shape.kind
        # flash attention passes over cells of others quickly, but rounds to float16
        settings.flash_attn_type = int(shape.is_shared and shape.kind == F16)
        return settings

    def decode(self, batch: Sequence[tuple[int, int, int, bool]]) -> Array:
        """Compute a batch of (token, position, sequence, whether its logits are wanted).

        Returns the wanted logits (n, V) in the batch's order, as a view that the next call overwrites. Raises
        RunnerFailed.
        """
        count = len(batch)
        table = np.array(batch, np.int32)
        self._tokens[:count], self._positions[:count], self._owners[:count] = table[:, 0], table[:, 1], table[:, 2]
        self._wanted[:count] = table[:, 3]
        data = [part.ctypes.data for part in (self._tokens, self._positions, self._ones, self._pointers, self._wanted)]
        tokens, positions, ones, pointers, wanted = data
        whole = Batch(count, tokens, None, positions, ones, pointers, wanted)

        def step(threads: int) -> int:
            self._calls.llama_set_n_threads(self._context, threads, threads)
            return int(self._calls.llama_decode(self._context, whole))

        code = self._threads.run(count, step)
        if code:
            raise RunnerFailed(
                "the memory for keys and values is used up; raise kv_gib" if code == _NO_ROOM else reason()
            )
        found = int(table[:, 3].sum())
        if not found:
            return np.empty((0, self.vocabulary), np.float32)
        at = self._calls.llama_get_logits(self._context)
        return np.ctypeslib.as_array((_FLOAT * (found * self.vocabulary)).from_address(at)).reshape(found, -1)

    def cut(self, sequence: int, length: int) -> None:
        """Forget all but the first `length` tokens of a sequence."""
        self._calls.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def copy(self, source: int, target: int, length: int) -> None:
        """Let an empty sequence begin with the first `length` tokens of another one, which they share if they can."""
        self._calls.llama_memory_seq_cp(self._memory, source, target, 0, length if self.shape.is_shared else -1)
        self.cut(target, length)

    def adapt(self, weights: Weights) -> None:
        """Compute with the adapter that the weights have now; the tokens so far are to be cleared.

        Raises UnsupportedModel with llama.cpp's reason.
        """
        one, scale = (_POINTER * 1)(weights.adapter), (_FLOAT * 1)(1.0)
        if self._calls.llama_set_adapters_lora(self._context, one, int(weights.adapter is not None), scale):
            raise UnsupportedModel(f"llama.cpp cannot use this adapter: {reason()}")

    def clear(self) -> None:
        """Forget all tokens."""
        self._calls.llama_memory_clear(self._memory, False)

    def close(self) -> None:
        """Release the memory."""
        if self._context:
            self._calls.llama_free(self._context)
        self._context = None


def quantized(values: Array, kind: int, block: int, block_bytes: int) -> Array:
    """Return rows of float32 numbers (n, m) as (n, bytes) of a ggml type with `block_bytes` for `block` numbers."""
    rows, columns = values.shape
    source = np.ascontiguousarray(values, np.float32)
    out = np.zeros((rows, columns // block * block_bytes), np.uint8)
    written = library().ggml_quantize_chunk(kind, source.ctypes.data, out.ctypes.data, 0, rows, columns, None)
    if written != out.nbytes:
        raise UnsupportedModel(f"llama.cpp wrote {written} bytes instead of {out.nbytes}")
    return out
