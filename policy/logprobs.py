"""Log-probabilities of completions: those of one prompt share a row, and the LM head runs at their tokens alone.

A row (`policy/row_layout.py`) equals one sequence per completion (to 1e-6 in float32), with the prompt computed once.
Some models get one sequence per completion: those with recurrent layers, with positions that are neither absolute nor
rotary, or with a sliding window shorter than the row.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from policy.errors import first_line
from policy.head_logps import Value, can_take, head_logps, head_values
from policy.lower_layers import LowerLayers, attach, lower_layers_of
from policy.row_layout import Layout, Row, lay_out, length_buckets
from policy.shared_prefix_attention import SharedPrompts, is_worth_it

log = logging.getLogger(__name__)
Want = Literal["logp", "entropy", "logits"]
PARTS_FROM = 2**22  # logits, from which a frozen head's log-probabilities are computed in parts
CHUNK_BYTES = 256 * 2**20  # larger float32 logits are computed in parts, and again in the backward pass
# For each model, whether its rows can be packed: in full precision (True) and in half precision (False).
_packable: weakref.WeakKeyDictionary[torch.nn.Module, dict[bool, bool]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Packed:
    """M scored tokens: branch by branch in the order of the rows. All float32 (float64 for a float64 model)."""

    logp: Tensor  # (M,), nats
    branch: Tensor  # (M,) long: index of a token's branch, 0..K-1 over all rows
    num_branches: int
    entropy: Tensor | None = None  # (M,), nats, of the distribution that each token was drawn from
    logits: Tensor | None = None  # (M, V)

    def sums(self) -> Tensor:
        """Return each branch's summed log-probability, (K,)."""
        return self.logp.new_zeros(self.num_branches).index_add(0, self.branch, self.logp)

    def lengths(self) -> Tensor:
        """Return each branch's number of tokens, (K,) long."""
        return torch.bincount(self.branch, minlength=self.num_branches)

    def split(self) -> list[Tensor]:
        """Return each branch's log-probabilities, K tensors of (T,)."""
        return list(self.logp.split(self.lengths().tolist()))


def response_logps(
    model: torch.nn.Module,
    rows: Sequence[Row],
    *,
    temperature: float = 1.0,
    want: Sequence[Want] = ("logp",),
    chunk_bytes: int = CHUNK_BYTES,
) -> Packed:
    """Return the log-probability (nats) of every completion token of `rows` in one forward pass.

    It has a gradient where that is enabled. Softmax is of logits / `temperature`, in float32 for every type of model.
    `want` adds the entropy or the logits, which then are held all at once. The model's mode (dropout) stays. Raises
    ValueError for a row without a prompt.
    """
    for row in rows:
        if not row.prompt_ids:
            raise ValueError(
                "a row has no prompt tokens; the first token of a completion is predicted from the prompt's last"
            )
    count = sum(len(row.branches) for row in rows)
    device = next(model.parameters()).device
    if not any(len(branch) for row in rows for branch in row.branches):
        nothing = torch.zeros(0, device=device)
        return Packed(nothing, nothing.long(), count, nothing, None)
    if any(len(row.branches) > 1 for row in rows) and not can_pack(model, max(row.length for row in rows)):
        rows = [Row(row.prompt_ids, [branch]) for row in rows for branch in row.branches]
    layout = lay_out(rows)
    logp, entropy, logits = _scored(model, layout, device, temperature, frozenset(want), chunk_bytes)
    return Packed(logp, layout.branch.to(device), count, entropy, logits)


def token_values(model: torch.nn.Module, rows: Sequence[Row], value: Value) -> Tensor:
    """Return a value (M,) of the logits that each completion token was drawn from, in one forward pass.

    `value(logits, part)` gets the logits (m, V) of the tokens `part`, in order. It has a gradient where that is
    enabled. Rows have one completion each.
    """
    layout = lay_out(rows)
    source = layout.source.to(next(model.parameters()).device)
    head, through = _hugging_face(model).get_output_embeddings(), LogitsOf(model)
    hidden = _hidden_states(model, layout, source, through) if _is_in_parts(head, through, len(source)) else None
    if hidden is None:
        return value(_forward(model, layout, lambda states: states[source]), slice(None))
    return head_values(hidden, head.weight, value, through.scale)


@torch.no_grad()
def score_rows(
    model: torch.nn.Module, rows: Sequence[Row], *, token_budget: int = 8192, temperature: float = 1.0
) -> list[list[Tensor]]:
    """Return each row's log-probabilities, float32 (T,) on the CPU for each branch; without gradient, in batches."""
    result: list[list[Tensor]] = [[] for _ in rows]
    for batch in length_buckets([row.length for row in rows], token_budget, least_fill=least_fill_for(model)):
        branches = iter(response_logps(model, [rows[index] for index in batch], temperature=temperature).split())
        for index in batch:
            result[index] = [next(branches).float().cpu() for _ in rows[index].branches]
    return result


def least_fill_for(model: torch.nn.Module) -> float:
    """Return the `least_fill` of batches for this model: a CPU loses more by padding, a GPU by small batches."""
    return 0.85 if next(model.parameters()).device.type == "cpu" else 0.0


def can_pack(model: torch.nn.Module, length: int) -> bool:
    """Return whether branches may share a row of `length` tokens: by the model's configuration and by one trial."""
    config: Any = _hugging_face(model).config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    window = getattr(text, "sliding_window", None)
    if window and getattr(text, "use_sliding_window", True) and length > window:
        return False  # our mask would replace that of the window
    if getattr(config, "_attn_implementation", "sdpa") not in ("sdpa", "eager"):
        return False  # flash kernels take no such mask
    body = _hugging_face(model)
    known, exact = _packable.setdefault(body, {}), _is_exact(model)
    if exact not in known:
        known[exact] = _packs(model, min(window or 24, 24))
        if not known[exact]:
            log.warning(
                "%s gives other log-probabilities when completions share a prompt: each gets a sequence of its own",
                type(body).__name__,
            )
    return known[exact]


def begin_at_layer(model: torch.nn.Module, first: int) -> LowerLayers | None:
    """Compute log-probabilities of `model` from layer `first` on, with the states below it kept; 0 is the whole model.

    The weights below that layer must not change. Returns None where the model's layers cannot be run apart: by its
    number of layers and by one trial.
    """
    body = _hugging_face(model)
    attach(body, None)
    if first <= 0:
        return None
    try:
        lower = LowerLayers(body, first)
        whole = _trial(model)
        attach(body, lower)
        parts = _trial(model)
        fits = bool((whole - parts).abs().max() <= (1e-3 if _is_exact(model) else 0.2))
    except (TypeError, ValueError, RuntimeError, NotImplementedError, KeyError, IndexError) as error:
        log.info("the layers of %s cannot be run apart: %s", type(body).__name__, first_line(error))
        fits = False
    if not fits:
        attach(body, None)
        log.warning("%s: all layers are computed in each pass, also those that are not trained", type(body).__name__)
        return None
    lower.clear()
    return lower


@torch.no_grad()
def _trial(model: torch.nn.Module) -> Tensor:
    """Return the log-probabilities of an arbitrary completion."""
    vocabulary = _hugging_face(model).get_input_embeddings().weight.shape[0]
    ids = [(7919 * index + 13) % vocabulary for index in range(12)]
    device = next(model.parameters()).device
    with _evaluating(model):
        return _scored(model, lay_out([Row(ids[:5], [ids[5:]])]), device, 1.0, frozenset(), CHUNK_BYTES)[0]


@torch.no_grad()
def _packs(model: torch.nn.Module, length: int) -> bool:
    """Return whether a packed row of `length` arbitrary tokens equals one sequence per branch."""
    device = next(model.parameters()).device
    vocabulary = _hugging_face(model).get_input_embeddings().weight.shape[0]
    ids = [(7919 * index + 13) % vocabulary for index in range(length)]
    third = length // 3
    packed = Row(ids[:third], [ids[third : 2 * third], ids[2 * third :]])
    apart = [Row(packed.prompt_ids, [branch]) for branch in packed.branches]
    with _evaluating(model):
        try:
            one, *_ = _scored(model, lay_out([packed]), device, 1.0, frozenset(), CHUNK_BYTES)
        except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
            log.info("the model refuses our mask: %s", first_line(error))
            return False
        other, *_ = _scored(model, lay_out(apart), device, 1.0, frozenset(), CHUNK_BYTES)
    return bool((one - other).abs().max() <= (1e-3 if _is_exact(model) else 0.2))


def _is_exact(model: torch.nn.Module) -> bool:
    """Return whether the model computes in float32 or float64 here."""
    weight = next(model.parameters())
    return weight.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled(weight.device.type)


def _scored(
    model: torch.nn.Module,
    layout: Layout,
    device: torch.device,
    temperature: float,
    want: frozenset[str],
    chunk_bytes: int,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return (log-probabilities, entropy or None, logits or None) of a layout's targets."""
    source, target = layout.source.to(device), layout.target.to(device)
    head = _hugging_face(model).get_output_embeddings()
    vocabulary = head.weight.shape[0]
    through = LogitsOf(model)
    in_parts = _is_in_parts(head, through, len(target)) and "entropy" not in want
    at_once = "logits" in want or (len(target) * vocabulary * 4 <= chunk_bytes and not in_parts)
    hidden = None if at_once else _hidden_states(model, layout, source, through)
    if hidden is None:
        return _reduced(_forward(model, layout, lambda states: states[source]), target, temperature, want)
    if in_parts:
        return head_logps(hidden, head.weight, target, through.scale / temperature), None, None
    rows = max(1, chunk_bytes // (4 * vocabulary))

    def reduced(states: Tensor, aims: Tensor) -> tuple[Tensor, Tensor | None]:
        return _reduced(through(states), aims, temperature, want)[:2]

    parts: list[tuple[Tensor, Tensor | None]] = [
        checkpoint(reduced, states, aims, use_reentrant=False) if torch.is_grad_enabled() else reduced(states, aims)
        for states, aims in zip(hidden.split(rows), target.split(rows), strict=True)
    ]
    entropies = [part[1] for part in parts if part[1] is not None]
    return torch.cat([part[0] for part in parts]), torch.cat(entropies) if entropies else None, None


def _is_in_parts(head: Any, through: LogitsOf, count: int) -> bool:
    """Return whether the logits of `count` tokens are computed in parts: a frozen plain head, and many logits."""
    return bool(through.is_plain and can_take(head) and count * len(head.weight) >= PARTS_FROM)


def _hidden_states(model: torch.nn.Module, layout: Layout, source: Tensor, through: LogitsOf) -> Tensor | None:
    """Return the states (M, d) that the head reads; None for a model that changes its logits in a way of its own."""
    whole: list[Tensor] = []

    def keep(hidden: Tensor) -> Tensor:
        whole.append(hidden[source])
        return hidden[source[:1]]

    first = _forward(model, layout, keep)  # (1, V), to compare our use of the head with the model's
    with torch.no_grad():
        ours = through(whole[0][:1])
        apart = (ours.float() - first.float()).abs().max()
    if apart <= 1e-2 * (1.0 + first.abs().max()):
        return whole[0]
    name = type(_hugging_face(model)).__name__
    log.warning("%s changes its logits in a way of its own: they are computed all at once", name)
    return None


def _forward(model: torch.nn.Module, layout: Layout, chosen: Callable[[Tensor], Tensor]) -> Tensor:
    """Run the model with its LM head at `chosen(hidden states flattened to (N * T, d))` alone; return logits (M, V).

    With a hook, the model's own changes of its logits (soft caps, scales) and adapters on the head stay in force.
    """
    head = _hugging_face(model).get_output_embeddings()

    def select(module: torch.nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (chosen(arguments[0].flatten(0, -2))[None], *arguments[1:])

    lower = lower_layers_of(_hugging_face(model))
    skipped = lower.skipped(lower.states(model, layout, run_layout)) if lower else nullcontext()
    handle = head.register_forward_pre_hook(select)
    try:
        with skipped:
            output = run_layout(model, layout)
    finally:
        handle.remove()
    logits: Tensor = output.logits[0]
    return logits


def run_layout(model: torch.nn.Module, layout: Layout) -> Any:
    """Return the model's output for a layout's rows."""
    device = next(model.parameters()).device
    mask = _mask_for(model, layout, device)
    with _in_parts(model, layout, mask):
        return model(
            input_ids=layout.ids.to(device),
            attention_mask=mask,
            position_ids=layout.positions.to(device),
            use_cache=False,
        )


def _in_parts(model: torch.nn.Module, layout: Layout, mask: Tensor | None) -> AbstractContextManager[Any]:
    """Return the context to run the model in: attention in parts, where the mask is mostly empty.

    Gradient checkpointing excludes it: the recomputation in the backward pass is outside the context.
    """
    if mask is None or mask.dtype != torch.bool or not is_worth_it(layout.shapes):
        return nullcontext()
    if torch.is_grad_enabled() and any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        return nullcontext()
    return SharedPrompts(mask, layout.shapes)


def _mask_for(model: torch.nn.Module, layout: Layout, device: torch.device) -> Tensor | None:
    if layout.mask is None:
        return None
    mask = layout.mask.to(device)
    if getattr(_hugging_face(model).config, "_attn_implementation", "sdpa") != "eager":
        return mask
    dtype = next(model.parameters()).dtype  # eager attention adds the mask to its scores
    return torch.zeros(mask.shape, dtype=dtype, device=device).masked_fill(~mask, torch.finfo(dtype).min)


def _reduced(
    logits: Tensor, target: Tensor, temperature: float, want: frozenset[str]
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    wide = logits if logits.dtype == torch.float64 else logits.float()
    scaled = wide if temperature == 1.0 else wide / temperature
    logp = -F.cross_entropy(scaled, target, reduction="none")  # half the time of gather and logsumexp, with backward
    entropy = None
    if "entropy" in want:
        normalizer = torch.logsumexp(scaled, -1)
        entropy = normalizer - (torch.softmax(scaled, -1) * scaled).sum(-1)
    return logp, entropy, wide if "logits" in want else None


class LogitsOf:
    """The LM head as a function from hidden states (..., d) to logits (..., V), with their caps and scales.

    It knows the caps and scales of Gemma, Cohere and Granite. Callers compare it with the model once, since other
    models may change their logits too.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._head = _hugging_face(model).get_output_embeddings()
        config: Any = _hugging_face(model).config
        self._cap = getattr(config, "final_logit_softcapping", None)
        self.scale = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)

    @property
    def is_plain(self) -> bool:
        """Whether logits are a product with the head's matrix and a scale, without a cap."""
        return not self._cap

    def __call__(self, hidden: Tensor) -> Tensor:
        """Return the logits (..., V) of hidden states (..., d)."""
        logits = self._head(hidden) * self.scale
        return self._cap * torch.tanh(logits / self._cap) if self._cap else logits


def _hugging_face(model: torch.nn.Module) -> Any:
    """Return the transformers model inside a PEFT model, or the model itself."""
    whole: Any = model
    return whole.get_base_model() if hasattr(whole, "get_base_model") else whole


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
