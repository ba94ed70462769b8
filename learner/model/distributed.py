"""Several processes at one update: each takes a share of every step's rows.

They are started by `torchrun --nproc-per-node 2 --no-python attune train ...`. All hold the whole model and the same
plan. A step's totals are those of all rows, so that the ranks' gradients add up to the one gradient. The first rank
draws or decides trust, samples, anchors and when to stop. Every rank computes the rest itself: heads and metrics. With
one process nothing here does anything.
"""

import contextlib
import os
from collections.abc import Generator, Iterable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist

Item = TypeVar("Item")


@contextlib.contextmanager
def joined(device: str) -> Generator[None, None, None]:
    """Join the other processes that torchrun started, if it did; leave them at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    is_cuda = device != "cpu" and torch.cuda.is_available()
    if is_cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if is_cuda else "gloo")
    try:
        yield
        dist.barrier()  # gloo's threads may abort a process that leaves while another still uses it
    finally:
        dist.destroy_process_group()


def count() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return count() == 1 or dist.get_rank() == 0


def share(lengths: Sequence[int]) -> list[int]:
    """Return the indices of this process's rows.

    They are dealt out longest first, to and fro, so that all processes have about as many tokens.
    """
    ranks = count()
    if ranks == 1:
        return list(range(len(lengths)))
    order, mine = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)), dist.get_rank()
    return sorted(
        index for turn, index in enumerate(order) if min(turn % (2 * ranks), 2 * ranks - 1 - turn % (2 * ranks)) == mine
    )


def add_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Add up all processes' gradients; one that had no rows adds nothing."""
    if count() == 1:
        return
    chosen = list(parameters)
    for parameter in chosen:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    whole = torch.cat([parameter.grad.flatten() for parameter in chosen if parameter.grad is not None])
    dist.all_reduce(whole)
    for parameter, part in zip(chosen, whole.split([parameter.numel() for parameter in chosen]), strict=True):
        parameter.grad = part.view_as(parameter).clone()


def gathered(mine: Item) -> list[Item]:
    """Return each process's value, in the same order in all."""
    if count() == 1:
        return [mine]
    found: list[Any] = [None] * count()
    dist.all_gather_object(found, mine)
    return found


def the_first(mine: Item) -> Item:
    """Return the first process's value in all: what is drawn must be the same even where kernels are not."""
    if count() == 1:
        return mine
    held: list[Any] = [mine]
    dist.broadcast_object_list(held, src=0)
    first: Item = held[0]
    return first
