"""Examples as padded batches of token ids: sorted by length within a part, so that little is padding."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from pocket.corpus import Example, Stage, examples
from pocket.tokenizer import ASSISTANT, BEGIN, END, SYSTEM, USER

PART = 2048
"""Examples drawn and sorted together."""
WIDTH, TARGETS = 4, 64
"""The width and its number of targets are rounded up to these: a CPU prepares, and keeps, a kernel for every shape it
meets.
"""
IGNORED = -100
"""The id of a target that counts for nothing, as cross-entropy has it."""
LONGEST = 192
"""Tokens at most; a longer example is left out (the corpus has next to none)."""


@dataclass(frozen=True)
class Batch:
    """`ids` (B, T) padded on the right; `targets` (N, 3) rows of batch index, position, next id for every reply token,
    then
    rows of (0, 0, IGNORED) up to a round N."""

    ids: Tensor
    targets: Tensor


class Encoder:
    """Encodes examples as the chat template does, with the ids of its marks looked up once (a hundred times faster)."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._core = tokenizer.backend_tokenizer
        self._marks = {
            role: tokenizer.convert_tokens_to_ids(mark)
            for role, mark in (("system", SYSTEM), ("user", USER), ("assistant", ASSISTANT))
        }
        self._begin, self._end, self.pad = (
            int(tokenizer.convert_tokens_to_ids(t)) for t in (BEGIN, END, tokenizer.pad_token)
        )

    def encode(self, example: Example) -> tuple[list[int], list[int]]:
        """Prompt ids with the generation prompt, and reply ids with the end of turn."""
        ids = [self._begin]
        for message in example.messages:
            content = message["content"] if message["role"] == "assistant" else message["content"].strip()
            ids += [self._marks[message["role"]], *self._core.encode(content, add_special_tokens=False).ids, self._end]
        ids.append(self._marks["assistant"])
        return ids, [*self._core.encode(example.completion, add_special_tokens=False).ids, self._end]


def part_batches(encoder: Encoder, seed: int, part: int, tokens: int, stage: Stage) -> list[Batch]:
    """The batches of one part of the corpus in a shuffled order, each of about `tokens` ids with padding."""
    drawn = itertools.islice(examples(seed, stage, part + 1), PART)
    rows = sorted(
        (r for r in map(encoder.encode, drawn) if len(r[0]) + len(r[1]) <= LONGEST), key=lambda r: len(r[0]) + len(r[1])
    )
    batches: list[Batch] = []
    while rows:
        width = -(-(len(rows[-1][0]) + len(rows[-1][1])) // WIDTH) * WIDTH
        taken = [rows.pop() for _ in range(min(len(rows), max(1, tokens // width)))]
        batches.append(_padded(taken, width, encoder.pad))
    random.Random(f"pocket order {seed} {part}").shuffle(batches)
    return batches


def _padded(rows: list[tuple[list[int], list[int]]], width: int, pad: int) -> Batch:
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    targets = []
    for b, (prompt, completion) in enumerate(rows):
        ids[b, : len(prompt) + len(completion)] = torch.tensor(prompt + completion)
        targets += [(b, len(prompt) - 1 + k, token) for k, token in enumerate(completion)]
    targets += [(0, 0, IGNORED)] * (-len(targets) % TARGETS)
    return Batch(ids, torch.tensor(targets))
