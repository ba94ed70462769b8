"""Examples as padded batches of token ids, sorted by length within a part to save padding."""

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
"""The width and the number of targets are rounded up to multiples of these: a CPU compiles a kernel for each shape."""
IGNORED = -100
"""The id of a target that cross-entropy ignores."""
LONGEST = 192
"""Most tokens of an example; longer ones, which are rare, are left out."""


@dataclass(frozen=True)
class Batch:
    """`ids` (B, T), padded on the right, and `targets` (N, 3): batch index, position and next id.

    There is a target for every completion token, then rows of (0, 0, IGNORED) up to a multiple of TARGETS.
    """

    ids: Tensor
    targets: Tensor


class Encoder:
    """Encodes examples as the chat template does, a hundred times faster: it looks the ids of the marks up once."""

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
        """Return the prompt ids with the generation prompt, and the completion ids with the end of turn."""
        ids = [self._begin]
        for message in example.messages:
            content = message["content"] if message["role"] == "assistant" else message["content"].strip()
            ids += [self._marks[message["role"]], *self._core.encode(content, add_special_tokens=False).ids, self._end]
        ids.append(self._marks["assistant"])
        return ids, [*self._core.encode(example.completion, add_special_tokens=False).ids, self._end]


def part_batches(encoder: Encoder, seed: int, part: int, tokens: int, stage: Stage) -> list[Batch]:
    """Return the batches of one part of the corpus, shuffled, each of about `tokens` ids with padding."""
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
