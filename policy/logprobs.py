"""Log-probabilities of replies, fast: replies to one prompt share it in one row, and the LM head runs at reply tokens
alone.

A row is `[prompt | reply 0 | reply 1 ...]`; each reply's positions restart after the prompt, and a token sees the
prompt and its own
reply, so a row is as good as one sequence per reply (to 1e-6 in float32) with the prompt computed once. Models for
which that does not
hold (recurrent layers, positions that are not absolute or rotary, a sliding window shorter than the row) get one
sequence per reply.
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
from policy.shared_prefix import SharedPrompts, is_worth_it

log = logging.getLogger(__name__)
Want = Literal["logp", "entropy", "logits"]
CHUNK_BYTES = 256 * 2**20  # past this size float32 logits are computed a part at a time, again in the backward pass
_packable: weakref.WeakKeyDictionary[torch.nn.Module, dict[bool, bool]] = (
    weakref.WeakKeyDictionary()
)  # in full precision, and not


@dataclass(frozen=True)
class Row:
    """One prompt and the replies to it that are scored: one for a thumb, two for a pair, G for a group."""

    prompt_ids: Sequence[int]
    branches: Sequence[Sequence[int]]

    @property
    def length(self) -> int:
        """Tokens of the packed row."""
        return len(self.prompt_ids) + sum(map(len, self.branches))


@dataclass(frozen=True)
class Packed:
    """M scored tokens, reply by reply in the order of the rows, each reply's in order; all float32 (float64 for a
    float64 model).
    """

    logp: Tensor  # (M,), nats
    branch: Tensor  # (M,) long: which reply a token belongs to, 0..K-1 over all rows
    num_branches: int
    entropy: Tensor | None = None  # (M,), nats, of the distribution that each token was drawn from
    logits: Tensor | None = None  # (M, V)

    def sums(self) -> Tensor:
        """Return each reply's summed log-probability, (K,)."""
        return self.logp.new_zeros(self.num_branches).index_add(0, self.branch, self.logp)

    def lengths(self) -> Tensor:
        """Return each reply's number of tokens, (K,) long."""
        return torch.bincount(self.branch, minlength=self.num_branches)

    def split(self) -> list[Tensor]:
        """Return each reply's log-probabilities by themselves, K tensors of (T,)."""
        return list(self.logp.split(self.lengths().tolist()))


@dataclass(frozen=True)
class _Layout:
    """Rows as tensors, on the CPU. `mask` is None where plain causal attention is right (one reply to a row, padded on
    the right).
    """

    ids: Tensor  # (N, T) long
    positions: Tensor  # (N, T) long
    mask: Tensor | None  # (N, 1, T, T) bool
    source: Tensor  # (M,) long: where in the flattened (N * T) hidden states a scored token is predicted
    target: Tensor  # (M,) long
    branch: Tensor  # (M,) long
    shapes: list[tuple[int, list[int]]]  # of each row: tokens of the prompt and of its replies


def response_logps(
    model: torch.nn.Module,
    rows: Sequence[Row],
    *,
    temperature: float = 1.0,
    want: Sequence[Want] = ("logp",),
    chunk_bytes: int = CHUNK_BYTES,
) -> Packed:
    """Return the log-probability of every reply token of `rows` in one forward pass, with gradient where it is enabled.

    Softmax is in float32 whatever the model's type, of logits / `temperature`. `want` adds the entropy or the logits
    (which are then
    kept whole). The model's mode (dropout) is left as it is. Raises ValueError for a row without a prompt.
    """
    for row in rows:
        if not row.prompt_ids:
            raise ValueError(
                "a row has no prompt tokens; the first token of a reply is predicted from the prompt's last"
            )
    count = sum(len(row.branches) for row in rows)
    device = next(model.parameters()).device
    if not any(len(branch) for row in rows for branch in row.branches):
        nothing = torch.zeros(0, device=device)
        return Packed(nothing, nothing.long(), count, nothing, None)
    if any(len(row.branches) > 1 for row in rows) and not can_pack(model, max(row.length for row in rows)):
        rows = [Row(row.prompt_ids, [branch]) for row in rows for branch in row.branches]
    layout = _laid_out(rows)
    logp, entropy, logits = _scored(model, layout, device, temperature, frozenset(want), chunk_bytes)
    return Packed(logp, layout.branch.to(device), count, entropy, logits)


@torch.no_grad()
def score_rows(
    model: torch.nn.Module, rows: Sequence[Row], *, token_budget: int = 8192, temperature: float = 1.0
) -> list[list[Tensor]]:
    """Return each row's replies' log-probabilities, float32 (T,) on the CPU, without gradient and in batches of similar
    length.
    """
    result: list[list[Tensor]] = [[] for _ in rows]
    for batch in length_buckets([row.length for row in rows], token_budget, least_fill=least_fill_for(model)):
        branches = iter(response_logps(model, [rows[index] for index in batch], temperature=temperature).split())
        for index in batch:
            result[index] = [next(branches).float().cpu() for _ in rows[index].branches]
    return result


def least_fill_for(model: torch.nn.Module) -> float:
    """Return how tightly rows are batched for this model: padding costs a CPU as much as tokens do, and many small
    batches cost a GPU more.
    """
    return 0.85 if next(model.parameters()).device.type == "cpu" else 0.0


def length_buckets(
    lengths: Sequence[int], token_budget: int, *, seed: int | None = None, least_fill: float = 0.0
) -> list[list[int]]:
    """Return all indices in batches of similar length, each at most `token_budget` tokens with its padding (or one
    index that alone is more).

    No length in a batch is below `least_fill` (0..1) of its longest. With a seed the order of the batches is shuffled,
    the same for the same
    seed; what lies together does not depend on it.
    """
    batches: list[list[int]] = []
    for index in sorted(
        range(len(lengths)), key=lambda index: (-lengths[index], index)
    ):  # longest first: it sets the batch's width
        longest = lengths[batches[-1][0]] if batches else 0
        if batches and longest * (len(batches[-1]) + 1) <= token_budget and lengths[index] >= least_fill * longest:
            batches[-1].append(index)
        else:
            batches.append([index])
    if seed is None:
        return batches
    order = torch.randperm(len(batches), generator=torch.Generator().manual_seed(seed)).tolist()
    return [batches[index] for index in order]


def can_pack(model: torch.nn.Module, length: int) -> bool:
    """Return whether replies may share a row of `length` tokens in this model: by its configuration, and by trying
    once.
    """
    config: Any = _hugging_face(model).config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    window = getattr(text, "sliding_window", None)
    if window and getattr(text, "use_sliding_window", True) and length > window:
        return False  # a mask of our own would replace the window's
    if getattr(config, "_attn_implementation", "sdpa") not in ("sdpa", "eager"):
        return False  # flash kernels take no mask of this form
    body = _hugging_face(model)
    known, exact = _packable.setdefault(body, {}), _is_exact(model)
    if exact not in known:
        known[exact] = _packs(model, min(window or 24, 24))
        if not known[exact]:
            log.warning(
                "%s gives other log-probabilities when replies share a prompt: each gets a sequence of its own",
                type(body).__name__,
            )
    return known[exact]


@torch.no_grad()
def _packs(model: torch.nn.Module, length: int) -> bool:
    """Compare a packed row of `length` arbitrary tokens with one sequence per reply."""
    device = next(model.parameters()).device
    vocabulary = _hugging_face(model).get_input_embeddings().weight.shape[0]
    ids = [(7919 * index + 13) % vocabulary for index in range(length)]
    third = length // 3
    packed = Row(ids[:third], [ids[third : 2 * third], ids[2 * third :]])
    apart = [Row(packed.prompt_ids, [branch]) for branch in packed.branches]
    with _evaluating(model):
        try:
            one, *_ = _scored(model, _laid_out([packed]), device, 1.0, frozenset(), CHUNK_BYTES)
        except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
            log.info("a mask of our own is refused: %s", first_line(error))
            return False
        other, *_ = _scored(model, _laid_out(apart), device, 1.0, frozenset(), CHUNK_BYTES)
    return bool((one - other).abs().max() <= (1e-3 if _is_exact(model) else 0.2))


def _is_exact(model: torch.nn.Module) -> bool:
    """Return whether the model computes in float32 or more, where it is called."""
    weight = next(model.parameters())
    return weight.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled(weight.device.type)


def _laid_out(rows: Sequence[Row]) -> _Layout:
    num, longest = len(rows), max(row.length for row in rows)
    ids = torch.zeros(num, longest, dtype=torch.long)
    positions = torch.zeros(num, longest, dtype=torch.long)
    segments = torch.full((num, longest), -1)  # 0 the prompt, 1.. the replies, -1 padding
    source: list[int] = []
    target: list[int] = []
    owner: list[int] = []
    number = 0
    for index, row in enumerate(rows):
        at = len(row.prompt_ids)
        ids[index, : row.length] = torch.tensor(
            [*row.prompt_ids, *(token for branch in row.branches for token in branch)]
        )
        positions[index, :at] = torch.arange(at)
        segments[index, :at] = 0
        for which, branch in enumerate(row.branches):
            end = at + len(branch)
            positions[index, at:end] = torch.arange(len(row.prompt_ids), len(row.prompt_ids) + len(branch))
            segments[index, at:end] = which + 1
            if len(branch):
                # a reply's first token is predicted at the prompt's last position, whichever reply comes first in the
                # row
                source += [
                    index * longest + len(row.prompt_ids) - 1,
                    *range(index * longest + at, index * longest + end - 1),
                ]
            target += branch
            owner += [number] * len(branch)
            number, at = number + 1, end
    mask = _attention_mask(segments) if any(len(row.branches) > 1 for row in rows) else None
    shapes = [(len(row.prompt_ids), [len(branch) for branch in row.branches]) for row in rows]
    return _Layout(ids, positions, mask, torch.tensor(source), torch.tensor(target), torch.tensor(owner), shapes)


def _attention_mask(segments: Tensor) -> Tensor:
    """Return (N, 1, T, T) bool: a token sees, at or before itself, the prompt and its own reply; padding sees itself
    (no row is empty).
    """
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    ours = (segments[:, None, :] == 0) | (segments[:, None, :] == segments[:, :, None])
    seen = causal & ours & (segments[:, None, :] >= 0)
    return (seen | torch.eye(length, dtype=torch.bool))[:, None]


def _scored(
    model: torch.nn.Module,
    layout: _Layout,
    device: torch.device,
    temperature: float,
    want: frozenset[str],
    chunk_bytes: int,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return (log-probabilities, entropy or None, logits or None) of a layout's targets."""
    source, target = layout.source.to(device), layout.target.to(device)
    head = _hugging_face(model).get_output_embeddings()
    vocabulary = head.weight.shape[0]
    if "logits" in want or len(target) * vocabulary * 4 <= chunk_bytes:
        return _reduced(_forward(model, layout, device, lambda hidden: hidden[source]), target, temperature, want)
    whole: list[Tensor] = []

    def keep(hidden: Tensor) -> Tensor:
        whole.append(hidden[source])
        return hidden[source[:1]]

    first = _forward(model, layout, device, keep)  # (1, V), to hold our own way through the head against the model's
    through = LogitsOf(model)
    with torch.no_grad():
        ours = through(whole[0][:1])
        apart = (ours.float() - first.float()).abs().max()
    if not apart <= 1e-2 * (1.0 + first.abs().max()):
        log.warning(
            "%s treats its logits in a way of its own: they are computed all at once",
            type(_hugging_face(model)).__name__,
        )
        return _reduced(_forward(model, layout, device, lambda hidden: hidden[source]), target, temperature, want)
    rows = max(1, chunk_bytes // (4 * vocabulary))

    def reduced(hidden: Tensor, aims: Tensor) -> tuple[Tensor, Tensor | None]:
        return _reduced(through(hidden), aims, temperature, want)[:2]

    parts: list[tuple[Tensor, Tensor | None]] = [
        checkpoint(reduced, hidden, aims, use_reentrant=False) if torch.is_grad_enabled() else reduced(hidden, aims)
        for hidden, aims in zip(whole[0].split(rows), target.split(rows), strict=True)
    ]
    entropies = [part[1] for part in parts if part[1] is not None]
    return torch.cat([part[0] for part in parts]), torch.cat(entropies) if entropies else None, None


def _forward(
    model: torch.nn.Module, layout: _Layout, device: torch.device, chosen: Callable[[Tensor], Tensor]
) -> Tensor:
    """Run the model with the LM head reading only `chosen(hidden states flattened to (N * T, d))`; return its logits
    (M, V).

    The hook leaves all that the model does to its logits (soft caps, scales) and all adapters on the head in place.
    """
    head = _hugging_face(model).get_output_embeddings()

    def select(module: torch.nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (chosen(arguments[0].flatten(0, -2))[None], *arguments[1:])

    handle = head.register_forward_pre_hook(select)
    mask = _mask_for(model, layout, device)
    try:
        with _in_parts(model, layout, mask):
            output = model(
                input_ids=layout.ids.to(device),
                attention_mask=mask,
                position_ids=layout.positions.to(device),
                use_cache=False,
            )
    finally:
        handle.remove()
    return output.logits[0]


def _in_parts(model: torch.nn.Module, layout: _Layout, mask: Tensor | None) -> AbstractContextManager[Any]:
    """Return what to run the model within: attention in parts, where the mask is mostly empty.

    Not where activations are computed again in the backward pass, which is outside of it and would save other tensors.
    """
    if mask is None or mask.dtype != torch.bool or not is_worth_it(layout.shapes):
        return nullcontext()
    if torch.is_grad_enabled() and any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        return nullcontext()
    return SharedPrompts(mask, layout.shapes)


def _mask_for(model: torch.nn.Module, layout: _Layout, device: torch.device) -> Tensor | None:
    if layout.mask is None:
        return None
    mask = layout.mask.to(device)
    if getattr(_hugging_face(model).config, "_attn_implementation", "sdpa") != "eager":
        return mask
    dtype = next(model.parameters()).dtype  # eager attention adds its mask to the scores
    return torch.zeros(mask.shape, dtype=dtype, device=device).masked_fill(~mask, torch.finfo(dtype).min)


def _reduced(
    logits: Tensor, target: Tensor, temperature: float, want: frozenset[str]
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    wide = logits if logits.dtype == torch.float64 else logits.float()
    scaled = wide if temperature == 1.0 else wide / temperature
    logp = -F.cross_entropy(
        scaled, target, reduction="none"
    )  # half the time of gather and logsumexp, backward included
    entropy = None
    if "entropy" in want:
        normaliser = torch.logsumexp(scaled, -1)
        entropy = normaliser - (torch.softmax(scaled, -1) * scaled).sum(-1)
    return logp, entropy, wide if "logits" in want else None


class LogitsOf:
    """The LM head as a function of hidden states (..., d), with what Gemma, Cohere and Granite do to their logits (...,
    V).

    Whoever uses it holds it against the model once: what others do to theirs is not known here.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._head = _hugging_face(model).get_output_embeddings()
        config: Any = _hugging_face(model).config
        self._cap = getattr(config, "final_logit_softcapping", None)
        self.scale = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)

    def __call__(self, hidden: Tensor, shift: Tensor | None = None) -> Tensor:
        """Return the logits. `shift` (..., V) is added to what the head says of each token before its scale and cap; it
        alone has a gradient then.
        """
        logits = self._head(hidden)
        logits = (logits if shift is None else logits.detach() + shift) * self.scale
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
