"""Examples as padded batches of token ids, sorted by length within a part to save padding."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from pocket.chat_template import BEGIN, END, MARKS, tools_text
from pocket.corpus import Example, Stage, examples

PART = 2048
"""Examples drawn and sorted together."""
WIDTH, WIDE, TARGETS = 8, 32, 128
"""The width (WIDE from 128 on) and the number of targets are rounded up to multiples of these.

A CPU compiles a kernel for each shape and keeps it, so fewer shapes take less time and memory.
"""
IGNORED = -100
"""The id of a target that cross-entropy ignores."""


@dataclass(frozen=True)
class Batch:
    """`ids` (B, T), padded on the right, and `targets` (N, 3): batch index, position and next id.

    There is a target for every completion token, then rows of (0, 0, IGNORED) up to a multiple of TARGETS.
    """

    ids: Tensor
    targets: Tensor


Encoded = tuple[list[int], list[int]]
"""Token ids of a conversation, and the positions in it of the tokens that are learned."""


class Encoder:
    """Encodes examples as the chat template does, a hundred times faster: it looks the ids of the marks up once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, context: int) -> None:
        self.context = context
        self._core = tokenizer.backend_tokenizer
        self._marks = {role: int(tokenizer.convert_tokens_to_ids(mark)) for role, mark in MARKS.items()}
        self._begin, self._end, self.pad = (
            int(tokenizer.convert_tokens_to_ids(t)) for t in (BEGIN, END, tokenizer.pad_token)
        )

    def encode(self, example: Example) -> Encoded:
        """Return the ids of the whole conversation, and the positions of its learned answers and their ends."""
        messages = [*example.messages, {"role": "assistant", "content": example.completion}]
        learned = {*example.learned, len(messages) - 1}
        if example.tools:
            has_system = messages[0]["role"] == "system"
            before = messages[0]["content"].strip() + "\n\n" if has_system else ""
            ids = [self._begin, *self._turn("system", before + tools_text(example.tools))]
        else:
            ids, has_system = [self._begin], False
        positions: list[int] = []
        for index, message in enumerate(messages):
            if index == 0 and has_system:
                continue
            role, content = message["role"], message["content"]
            turn = self._turn(role, content if role == "assistant" else content.strip())
            if index in learned:
                positions += range(len(ids) + 1, len(ids) + len(turn))
            ids += turn
        return ids, positions

    def _turn(self, role: str, text: str) -> list[int]:
        return [self._marks[role], *self._core.encode(text, add_special_tokens=False).ids, self._end]


def part_batches(encoder: Encoder, seed: int, part: int, tokens: int, stage: Stage) -> list[Batch]:
    """Return the batches of one part of the corpus, shuffled, each of about `tokens` ids with padding.

    Conversations that are longer than the context, which are rare, are left out.
    """
    drawn = itertools.islice(examples(seed, stage, part + 1), PART)
    rows = sorted((r for r in map(encoder.encode, drawn) if len(r[0]) <= encoder.context), key=lambda r: len(r[0]))
    batches: list[Batch] = []
    while rows:
        longest = len(rows[-1][0])
        step = WIDTH if longest <= 128 else WIDE
        width = -(-longest // step) * step
        taken = [rows.pop() for _ in range(min(len(rows), max(1, tokens // width)))]
        batches.append(_padded(taken, width, encoder.pad))
    random.Random(f"pocket order {seed} {part}").shuffle(batches)
    return batches


def _padded(rows: list[Encoded], width: int, pad: int) -> Batch:
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    targets = []
    for b, (row, positions) in enumerate(rows):
        ids[b, : len(row)] = torch.tensor(row)
        targets += [(b, position - 1, row[position]) for position in positions]
    targets += [(0, 0, IGNORED)] * (-len(targets) % TARGETS)
    return Batch(ids, torch.tensor(targets))
