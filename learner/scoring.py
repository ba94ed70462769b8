"""Log-probabilities of examples' replies, in the shapes that the losses read; and full distributions at reply tokens."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learner.algorithms.reduction import sequence_sums
from policy.logprobs import Row, response_logps

Ids = Sequence[int]


@dataclass(frozen=True)
class Scored:
    """Replies of some rows, numbered through: row by row, branch by branch."""

    token_logps: Tensor  # (M,), nats; a reply's tokens lie together and in order
    reply: Tensor  # (M,) long, ascending: which reply, 0..K-1, a token belongs to
    sums: Tensor  # (K,), nats
    lengths: Tensor  # (K,), tokens


def row_of(prompt_ids: Ids, *replies: Ids) -> Row:
    """Return a prompt and its replies as one packed row."""
    return Row(list(prompt_ids), [list(reply) for reply in replies])


def score(model: torch.nn.Module, rows: Sequence[Row]) -> Scored:
    """Return the log-probabilities of all replies of `rows` in one forward pass, with gradient where it is enabled."""
    count = sum(len(row.branches) for row in rows)
    packed = response_logps(model, rows)
    order = torch.argsort(packed.branch, stable=True)
    token_logps, reply = packed.logp[order], packed.branch[order]
    return Scored(token_logps, reply, sequence_sums(token_logps, reply, count), torch.bincount(reply, minlength=count))


def cut_by_tokens(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Return indices in groups of similar size such that (longest x number) stays within `budget`, or single where one alone exceeds it."""
    groups: list[list[int]] = []
    for index in sorted(range(len(sizes)), key=lambda index: (sizes[index], index)):
        if groups and sizes[index] * (len(groups[-1]) + 1) <= budget:  # ascending: this one is the longest
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


@torch.no_grad()
def reply_logps(model: torch.nn.Module, replies: Sequence[tuple[Ids, Ids]], budget: int) -> list[Tensor]:
    """Return each (prompt, reply)'s token log-probabilities, (T,) in nats on the CPU, in the order given."""
    result: list[Tensor] = [torch.empty(0)] * len(replies)
    for group in cut_by_tokens([len(prompt) + len(reply) for prompt, reply in replies], budget):
        scored = score(model, [row_of(*replies[index]) for index in group])
        pieces = scored.token_logps.float().cpu().split(scored.lengths.tolist())
        for index, piece in zip(group, pieces, strict=True):
            result[index] = piece
    return result


def reply_logits(model: torch.nn.Module, replies: Sequence[tuple[Ids, Ids]]) -> Tensor:
    """Return the logits (M, V) that each reply token was drawn from, reply by reply, in one forward pass.

    The LM head is applied at those positions alone.
    """
    device = next(model.parameters()).device
    longest = max(len(prompt) + len(reply) for prompt, reply in replies)
    ids = torch.zeros(len(replies), longest, dtype=torch.long)
    mask = torch.zeros(len(replies), longest, dtype=torch.long)
    rows: list[int] = []
    columns: list[int] = []
    for number, (prompt, reply) in enumerate(replies):
        length = len(prompt) + len(reply)
        ids[number, :length] = torch.tensor([*prompt, *reply])
        mask[number, :length] = 1
        rows += [number] * len(reply)
        columns += range(len(prompt) - 1, length - 1)
    places = torch.tensor(rows, device=device), torch.tensor(columns, device=device)
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    return head(hidden_states(model, ids.to(device), mask.to(device))[places])


def hidden_states(model: torch.nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """Return the last layer's hidden states (N, T, d), as the LM head reads them."""
    whole: Any = model
    body = whole.get_base_model() if hasattr(whole, "get_base_model") else whole
    return body.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state


def distinct(replies: Iterable[tuple[Ids, Ids]]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return (prompt, reply) once each, in order."""
    return list(dict.fromkeys((tuple(prompt), tuple(reply)) for prompt, reply in replies))
