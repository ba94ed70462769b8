"""Log-probabilities of completions in the shapes that the losses read; logits and hidden states at their tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from policy.head_logps import Value
from policy.logprobs import least_fill_for, response_logps, score_rows, token_values
from policy.row_layout import Row, length_buckets

Ids = Sequence[int]


@dataclass(frozen=True)
class Scored:
    """K completions with M tokens in all, numbered row by row. A completion's tokens lie together and in order."""

    token_logps: Tensor  # (M,), nats
    completion: Tensor  # (M,) long, ascending: which completion, 0..K-1, a token belongs to
    sums: Tensor  # (K,), nats
    lengths: Tensor  # (K,) long, tokens


def row_of(prompt_ids: Ids, *completions: Ids) -> Row:
    """Return a prompt and its completions as one packed row."""
    return Row(prompt_ids, completions)


def score(model: torch.nn.Module, rows: Sequence[Row]) -> Scored:
    """Return the log-probabilities of all completions of `rows`, in one forward pass, with gradient where enabled."""
    packed = response_logps(model, rows)
    return Scored(packed.logp, packed.branch, packed.sums(), packed.lengths())


def completion_logps(model: torch.nn.Module, completions: Sequence[tuple[Ids, Ids]], budget: int) -> list[Tensor]:
    """Return each (prompt, completion)'s log-probabilities (T,) in nats, on the CPU, without gradient.

    `budget` is the most tokens of one forward pass, padding included, here and below.
    """
    return row_logps(model, [row_of(prompt, ids) for prompt, ids in completions], budget)


def row_logps(model: torch.nn.Module, rows: Sequence[Row], budget: int) -> list[Tensor]:
    """Return the log-probabilities (T,) of each completion of `rows` in nats, on the CPU, without gradient."""
    return [logps for branches in score_rows(model, rows, token_budget=budget) for logps in branches]


def completion_sums(model: torch.nn.Module, completions: Sequence[tuple[Ids, Ids]], budget: int) -> Tensor:
    """Return each (prompt, completion)'s summed log-probability, (N,) in nats on the CPU, without gradient."""
    if not completions:
        return torch.zeros(0)
    return torch.stack([logps.sum() for logps in completion_logps(model, completions, budget)])


def completion_logits(model: torch.nn.Module, completions: Sequence[tuple[Ids, Ids]]) -> Tensor:
    """Return the logits (M, V) that each completion token was drawn from, in order, in one forward pass.

    Raises ValueError where there is no token.
    """
    logits = response_logps(model, [row_of(prompt, ids) for prompt, ids in completions], want=("logits",)).logits
    if logits is None:
        raise ValueError("there is no completion token to give logits for")
    return logits


def completion_values(model: torch.nn.Module, completions: Sequence[tuple[Ids, Ids]], value: Value) -> Tensor:
    """Return a value (M,) of the logits that each completion token was drawn from, as `token_values` does."""
    return token_values(model, [row_of(prompt, ids) for prompt, ids in completions], value)


def hidden_states(model: torch.nn.Module, completions: Sequence[tuple[Ids, Ids]]) -> Tensor:
    """Return the last layer's hidden states (N, T, d) of prompt + completion, right-padded, in one forward pass."""
    device = next(model.parameters()).device
    longest = max(len(prompt) + len(completion) for prompt, completion in completions)
    ids = torch.zeros(len(completions), longest, dtype=torch.long)
    for number, (prompt, completion) in enumerate(completions):
        ids[number, : len(prompt) + len(completion)] = torch.tensor([*prompt, *completion])
    whole: Any = model
    body = whole.get_base_model() if hasattr(whole, "get_base_model") else whole
    # Attention is causal: no token sees the padding on its right.
    hidden: Tensor = body.base_model(input_ids=ids.to(device), use_cache=False).last_hidden_state
    return hidden


@torch.no_grad()
def completion_hidden_states(
    model: torch.nn.Module, completions: Sequence[tuple[Ids, Ids]], budget: int, *, device: str | None = None
) -> list[Tensor]:
    """Return for each (prompt, completion) the states (T, d) that its tokens are predicted from, in float32.

    They lie on `device`; None is the model's.
    """
    found: list[Tensor] = [torch.empty(0)] * len(completions)
    for group in length_buckets([len(prompt) + len(ids) for prompt, ids in completions], budget):
        hidden = hidden_states(model, [completions[index] for index in group]).float()
        hidden = hidden if device is None else hidden.to(device)
        for row, index in enumerate(group):
            prompt, ids = completions[index]
            found[index] = hidden[row, len(prompt) - 1 : len(prompt) + len(ids) - 1].clone()
    return found


def padded(rows: Sequence[Tensor]) -> Tensor:
    """Return N tensors (T_n, ...) as one (N, T, ...), with zeros on the right."""
    return pad_sequence(list(rows), batch_first=True)


__all__ = [
    "Ids",
    "Row",
    "Scored",
    "completion_hidden_states",
    "completion_logits",
    "completion_logps",
    "completion_sums",
    "completion_values",
    "hidden_states",
    "least_fill_for",
    "length_buckets",
    "padded",
    "row_logps",
    "row_of",
    "score",
]
