"""The layout of rows: completions that share a prompt in one sequence, with their positions and attention mask.

A row is `[prompt | branch 0 | branch 1 ...]`, each branch a completion. Positions restart after the prompt for each
branch, and a token attends to the prompt and its own branch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Row:
    """One prompt and its completions to score (`branches`): one for a thumb, two for a pair, G for a group."""

    prompt_ids: Sequence[int]
    branches: Sequence[Sequence[int]]

    @property
    def length(self) -> int:
        """Number of tokens of the packed row."""
        return len(self.prompt_ids) + sum(map(len, self.branches))


@dataclass(frozen=True)
class Layout:
    """Rows as tensors, on the CPU. `mask` is None for causal attention: rows of one branch, padded on the right."""

    ids: Tensor  # (N, T) long
    positions: Tensor  # (N, T) long
    mask: Tensor | None  # (N, 1, T, T) bool
    source: Tensor  # (M,) long: index in the flattened (N * T) hidden states that predict a scored token
    target: Tensor  # (M,) long
    branch: Tensor  # (M,) long
    shapes: list[tuple[int, list[int]]]  # of each row: tokens of the prompt and of its branches
    rows: Sequence[Row]


def lay_out(rows: Sequence[Row]) -> Layout:
    """Return rows as tensors, padded on the right to the longest."""
    num, longest = len(rows), max(row.length for row in rows)
    ids = torch.zeros(num, longest, dtype=torch.long)
    positions = torch.zeros(num, longest, dtype=torch.long)
    segments = torch.full((num, longest), -1)  # 0 the prompt, 1.. the branches, -1 padding
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
                # the prompt's last position predicts the first token of every branch
                source += [
                    index * longest + len(row.prompt_ids) - 1,
                    *range(index * longest + at, index * longest + end - 1),
                ]
            target += branch
            owner += [number] * len(branch)
            number, at = number + 1, end
    mask = _attention_mask(segments) if any(len(row.branches) > 1 for row in rows) else None
    shapes = [(len(row.prompt_ids), [len(branch) for branch in row.branches]) for row in rows]
    return Layout(ids, positions, mask, torch.tensor(source), torch.tensor(target), torch.tensor(owner), shapes, rows)


def _attention_mask(segments: Tensor) -> Tensor:
    """Return (N, 1, T, T) bool: a token attends to the prompt and its own branch up to itself, padding to itself."""
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    ours = (segments[:, None, :] == 0) | (segments[:, None, :] == segments[:, :, None])
    seen = causal & ours & (segments[:, None, :] >= 0)
    return (seen | torch.eye(length, dtype=torch.bool))[:, None]


def length_buckets(
    lengths: Sequence[int], token_budget: int, *, seed: int | None = None, least_fill: float = 0.0
) -> list[list[int]]:
    """Return all indices in batches of similar length, of at most `token_budget` tokens with padding.

    A longer sequence is a batch by itself. No length in a batch is below `least_fill` (0..1) of its longest. A seed
    shuffles the order of the batches, not their content.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):  # the longest sets the width
        longest = lengths[batches[-1][0]] if batches else 0
        if batches and longest * (len(batches[-1]) + 1) <= token_budget and lengths[index] >= least_fill * longest:
            batches[-1].append(index)
        else:
            batches.append([index])
    if seed is None:
        return batches
    order = torch.randperm(len(batches), generator=torch.Generator().manual_seed(seed)).tolist()
    return [batches[index] for index in order]
