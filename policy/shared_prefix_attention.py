"""Attention over rows whose completions share a prompt, without the empty parts of the mask.

A row has one prompt (P tokens) and G branches (completions of L tokens). Its mask has (P + G L)^2 entries, of which
about G L (P + L) are true. Where that is much less, attention is computed in parts: first the prompts by causal
attention, then groups of branches of similar length, each over its prompt and itself. Values and gradients equal those
of the whole mask, up to rounding.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

GAIN = 2.0  # parts copy prompts, so they must compute this many times fewer entries of the mask
FILL = 0.75  # the shortest branch of a part has at least this share of the longest one's tokens


class Part(NamedTuple):
    """B branches of at most L tokens under prompts of at most P. Indices point into the rows flattened to (N * T)."""

    queries: Tensor  # (B * L,) long; a short branch is padded with the index of its first token
    keys: Tensor  # (B * (P + L),) long
    mask: Tensor  # (B, 1, L, P + L) bool
    kept: Tensor  # (M,) long: which of the B * L are tokens, not padding
    targets: Tensor  # (M,) long: their indices in the rows


class SharedPrompts(TorchFunctionMode):
    """A context in which `scaled_dot_product_attention` with exactly `mask` (N, 1, T, T) is computed in parts.

    All other calls are unchanged. `shapes` has each row's prompt length and its branches' lengths, in tokens; a row
    begins with its prompt.
    """

    def __init__(self, mask: Tensor, shapes: Sequence[tuple[int, Sequence[int]]]) -> None:
        super().__init__()
        self.mask = mask
        self.prompt_length = max(prompt for prompt, _ in shapes)
        self.parts = _parts(shapes, mask.shape[-1], mask.device)
        self.num_calls = 0  # attentions computed in parts

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute attention in parts, or call `func` unchanged."""
        kwargs = kwargs or {}
        if (
            func is not F.scaled_dot_product_attention
            or len(args) != 3
            or kwargs.get("attn_mask") is not self.mask
            or kwargs.get("dropout_p")
        ):
            return func(*args, **kwargs)
        self.num_calls += 1
        rest = {name: value for name, value in kwargs.items() if name not in ("attn_mask", "is_causal")}
        return self._attend(*args, rest)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, rest: dict[str, Any]) -> Tensor:
        """Return (N, H, T, D) from queries, keys and values of that shape (keys and values may have fewer heads)."""
        num, _, length, _ = query.shape
        long = self.prompt_length
        prompts = F.scaled_dot_product_attention(
            query[:, :, :long], key[:, :, :long], value[:, :, :long], is_causal=True, **rest
        )
        result = F.pad(prompts.transpose(1, 2), (0, 0, 0, 0, 0, length - long)).flatten(0, 1)  # (N * T, H, D)
        queries, keys, values = (whole.transpose(1, 2).flatten(0, 1) for whole in (query, key, value))
        for part in self.parts:
            count, _, width, seen = part.mask.shape
            attended = F.scaled_dot_product_attention(
                _taken(queries, part.queries, count, width),
                _taken(keys, part.keys, count, seen),
                _taken(values, part.keys, count, seen),
                attn_mask=part.mask,
                **rest,
            )
            result = result.index_copy(0, part.targets, attended.transpose(1, 2).flatten(0, 1)[part.kept])
        return result.unflatten(0, (num, length)).transpose(1, 2)


def is_worth_it(shapes: Sequence[tuple[int, Sequence[int]]]) -> bool:
    """Return whether the mask of these rows has at least `GAIN` times more entries than their parts compute."""
    longest = max(prompt + sum(branches) for prompt, branches in shapes)
    seen = sum(
        prompt * prompt / 2 + sum(branch * (prompt + branch) for branch in branches) for prompt, branches in shapes
    )
    return len(shapes) * longest * longest >= GAIN * seen / FILL


def _taken(whole: Tensor, indices: Tensor, count: int, width: int) -> Tensor:
    """Return (count, H, width, D) of (N * T, H, D)."""
    return whole.index_select(0, indices).unflatten(0, (count, width)).transpose(1, 2)


class _Branch(NamedTuple):
    row_start: int
    prompt: int
    start: int
    length: int


def _parts(shapes: Sequence[tuple[int, Sequence[int]]], row_length: int, device: torch.device) -> list[Part]:
    branches: list[_Branch] = []
    for number, (prompt, lengths) in enumerate(shapes):
        at = number * row_length + prompt
        for length in lengths:
            branches += [_Branch(number * row_length, prompt, at, length)] if length else []
            at += length
    branches.sort(key=lambda branch: -branch.length)
    groups: list[list[_Branch]] = []
    for branch in branches:
        if groups and branch.length >= FILL * groups[-1][0].length:
            groups[-1].append(branch)
        else:
            groups.append([branch])
    return [_part(group, device) for group in groups]


def _part(branches: Sequence[_Branch], device: torch.device) -> Part:
    row_start, prompt, start, length = (
        torch.tensor(column)[:, None] for column in zip(*branches, strict=True)
    )  # each (B, 1)
    width, long = int(length.max()), int(prompt.max())
    step, back = torch.arange(width)[None], torch.arange(long)[None]
    is_token, is_prompt = step < length, back < prompt
    own = start + step * is_token  # (B, L)
    keys = torch.cat([row_start + back * is_prompt, own], 1)
    causal = (step <= step.T)[None] & is_token[:, None]
    mask = torch.cat([is_prompt[:, None].expand(-1, width, -1), causal], 2)[:, None]
    kept = is_token.flatten().nonzero()[:, 0]
    return Part(*(tensor.to(device) for tensor in (own.flatten(), keys.flatten(), mask, kept, own.flatten()[kept])))
