"""Log-probabilities of replies in the shapes that the losses read, and full distributions at reply tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from policy.logprobs import Row, least_fill_for, length_buckets, response_logps, score_rows

Ids = Sequence[int]


@dataclass(frozen=True)
class Scored:
    """Replies of some rows, numbered through: row by row, branch by branch. A reply's tokens lie together and in order."""

    token_logps: Tensor  # (M,), nats
    reply: Tensor  # (M,) long, ascending: which reply, 0..K-1, a token belongs to
    sums: Tensor  # (K,), nats
    lengths: Tensor  # (K,) long, tokens


def row_of(prompt_ids: Ids, *replies: Ids) -> Row:
    """Return a prompt and its replies as one packed row."""
    return Row(prompt_ids, replies)


def score(model: torch.nn.Module, rows: Sequence[Row]) -> Scored:
    """Return the log-probabilities of all replies of `rows` in one forward pass, with gradient where it is enabled."""
    packed = response_logps(model, rows)
    return Scored(packed.logp, packed.branch, packed.sums(), packed.lengths())


def completion_logps(model: torch.nn.Module, replies: Sequence[tuple[Ids, Ids]], budget: int) -> list[Tensor]:
    """Return each (prompt, reply)'s token log-probabilities, (T,) in nats on the CPU, in the order given, without
    gradient.
    """
    return row_logps(model, [row_of(*reply) for reply in replies], budget)


def row_logps(model: torch.nn.Module, rows: Sequence[Row], budget: int) -> list[Tensor]:
    """Return the token log-probabilities of all replies of `rows`, row by row, each (T,) in nats on the CPU, without
    gradient.
    """
    return [logps for branches in score_rows(model, rows, token_budget=budget) for logps in branches]


def completion_sums(model: torch.nn.Module, replies: Sequence[tuple[Ids, Ids]], budget: int) -> Tensor:
    """Return each (prompt, reply)'s summed log-probability, (N,) in nats on the CPU, without gradient."""
    return (
        torch.stack([logps.sum() for logps in completion_logps(model, replies, budget)]) if replies else torch.zeros(0)
    )


def completion_logits(model: torch.nn.Module, replies: Sequence[tuple[Ids, Ids]]) -> Tensor:
    """Return the logits (M, V) that each reply token was drawn from, reply by reply, in one forward pass."""
    logits = response_logps(model, [row_of(*reply) for reply in replies], want=("logits",)).logits
    if logits is None:
        raise ValueError("there is no reply token to give logits for")
    return logits


def hidden_states(model: torch.nn.Module, replies: Sequence[tuple[Ids, Ids]]) -> Tensor:
    """Return the last layer's hidden states (N, T, d) of each prompt + reply, padded on the right, in one forward pass."""
    device = next(model.parameters()).device
    longest = max(len(prompt) + len(reply) for prompt, reply in replies)
    ids = torch.zeros(len(replies), longest, dtype=torch.long)
    for number, (prompt, reply) in enumerate(replies):
        ids[number, : len(prompt) + len(reply)] = torch.tensor([*prompt, *reply])
    whole: Any = model
    body = whole.get_base_model() if hasattr(whole, "get_base_model") else whole
    hidden: Tensor = body.base_model(
        input_ids=ids.to(device), use_cache=False
    ).last_hidden_state  # causal: padding on the right is never seen
    return hidden


def padded(pieces: Sequence[Tensor]) -> Tensor:
    """Return (N, T) of N pieces (T_n,), with zeros on the right."""
    return pad_sequence(list(pieces), batch_first=True)


__all__ = [
    "Ids",
    "Row",
    "Scored",
    "completion_logits",
    "completion_logps",
    "completion_sums",
    "hidden_states",
    "least_fill_for",
    "length_buckets",
    "padded",
    "row_logps",
    "row_of",
    "score",
]
