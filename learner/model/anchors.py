"""Anchors: KL-regularisation samples of the base model on prompts that nobody rated, with its distributions.

Without them an update forgets what feedback is not about. `anchor_stock` makes and keeps them.
"""

import logging
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from learner.algorithms.anchor import TopLogps, top_logps
from learner.data.prompt_files import Messages, model_file, read_prompts
from learner.errors import BadSetting
from learner.model.anchor_prompts import anchor_prompts
from learner.model.resident import Resident
from learner.model.scoring import completion_values
from learner.settings import AnchorSettings
from policy.chat import render_prompt

log = logging.getLogger(__name__)
T = TypeVar("T")
TOP = 64  # tokens of the vocabulary whose log-probabilities are kept; the rest is one number
BATCH = 16  # completions per forward pass
SMALL = 50_000_000  # parameters
MOST = 4096  # anchors
NAME = "anchors.jsonl"  # a model's own anchor prompts


@dataclass(frozen=True)
class Anchor:
    """One sample with a reference distribution: `top` has one row per completion token."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    top: TopLogps

    @property
    def num_tokens(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.prompt_ids) + len(self.completion_ids)


def anchor_count(settings: AnchorSettings, num_parameters: int, *, is_small: bool = True) -> int:
    """Return how many anchors to make: `count`, or 256 for a small model, which samples them in seconds, else 64 or 32.

    `is_small`: the model is, for this machine.
    """
    if settings.count or not is_small:
        return settings.count or 32
    return 256 if num_parameters <= SMALL else 64


def anchors_per_step(settings: AnchorSettings) -> int:
    """Return how many anchors each optimizer step sees: none where they weigh nothing."""
    return settings.batch_size if settings.weight > 0 else 0


def anchor_order(count: int, per_step: int, steps: int, seed: int) -> list[list[int]]:
    """Return the indices of the anchors that each step sees: all of `count` in turn, in shuffled passes."""
    rng = random.Random(seed + 1)
    stream: list[int] = []
    while count and len(stream) < per_step * steps:
        stream += rng.sample(range(count), count)
    return [stream[step * per_step : (step + 1) * per_step] for step in range(steps)]


def anchor_prompt_ids(resident: Resident, count: int) -> list[list[int]]:
    """Return about `count` anchor prompts as token ids; those that leave no room for a completion are left out.

    They come from `anchors.file` first. The rest come from the model's own `anchors.jsonl`, or else from the built-in
    ones. Where `anchors.count` is 0, those of the file come on top. Raises BadData for a file that is no such file, and
    BadSetting where no prompt leaves room for a completion.
    """
    prompts = _prompts(resident, count)
    if not prompts:
        most, context = resident.settings.gate.max_tokens, resident.context_length
        reason = f"gate.max_tokens {most} leaves no prompt room in the model's context of {context} tokens"
        raise BadSetting(f"{reason}; lower it")
    return prompts


def _prompts(resident: Resident, count: int) -> list[list[int]]:
    settings = resident.settings

    def rendered(prompts: Iterable[tuple[Messages, dict[str, Any]]]) -> list[list[int]]:
        found = [render_prompt(resident.tokenizer, turns, row.get("tools", [])) for turns, row in prompts]
        return [ids for ids in found if len(ids) + settings.gate.max_tokens <= resident.context_length]

    theirs: list[list[int]] = []
    if settings.anchors.file is not None:
        read = read_prompts(settings.anchors.file)
        theirs = rendered(read)
        theirs = _spread(theirs, min(len(theirs), count if settings.anchors.count else MOST - count))
        if len(theirs) < len(read):
            left_out = f"{len(read) - len(theirs)} of the {len(read)} prompts of {settings.anchors.file}"
            log.warning("%s are no anchors: too long, or more than anchors.count", left_out)
    more = count - len(theirs) if settings.anchors.count else count
    if not more:
        return theirs
    own = model_file(settings.model, NAME)
    if own is not None:
        return theirs + rendered(_spread(read_prompts(own), more))
    return theirs + rendered(([{"role": "user", "content": text}], {}) for text in anchor_prompts(more))


def _spread(prompts: Sequence[T], count: int) -> list[T]:
    """Return `count` prompts at even distances, or all where there are fewer."""
    count = min(count, len(prompts))
    return [prompts[index * len(prompts) // count] for index in range(count)]


@torch.no_grad()
def with_distributions(
    model: torch.nn.Module, completions: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> list[Anchor]:
    """Return each (prompt, completion) with this model's distribution at each completion token, on the CPU."""
    anchors = []
    for start in range(0, len(completions), BATCH):
        batch = completions[start : start + BATCH]
        found: list[TopLogps] = []

        def keep(logits: Tensor, _: slice, found: list[TopLogps] = found) -> Tensor:
            found.append(top_logps(logits, TOP))
            return found[-1].rest

        completion_values(model, batch, keep)
        lengths = [len(completion) for _, completion in batch]
        columns = [torch.cat(list(column)).cpu().split(lengths) for column in zip(*found, strict=True)]
        for (prompt, completion), ids, logps, rest in zip(batch, *columns, strict=True):
            distributions = TopLogps(ids.clone(), logps.float(), rest.float())
            anchors.append(Anchor(tuple(prompt), tuple(completion), distributions))
    return anchors


def stacked(anchors: Sequence[Anchor], device: torch.device) -> TopLogps:
    """Return the reference distributions of all tokens of these anchors, in order."""
    columns = zip(*(anchor.top for anchor in anchors), strict=True)
    return TopLogps(*(torch.cat(list(column)).to(device) for column in columns))
