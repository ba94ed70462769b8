"""Anchor samples: what the base model says on prompts that nobody complained about, with its distribution at each
token.

They are made once per base model and kept in the cache folder; without them an update forgets what it is not told of.
"""

import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from learner.algorithms.anchor import TopLogps, top_logps
from learner.data.prompt_files import Messages, read_prompts
from learner.errors import BadSetting
from learner.model.anchor_prompts import anchor_prompts
from learner.model.resident import Resident
from learner.model.rollouts import sample_rollouts
from learner.model.scoring import completion_logits
from learner.settings import LearnerSettings
from policy.chat import end_ids, render_prompt

log = logging.getLogger(__name__)
TOP = 64
CHUNK = 16
SMALL = 50_000_000  # parameters
MOST = 4096  # anchors
SEED = 20_240_229  # anchors do not depend on an update's seed: they are made once


@dataclass(frozen=True)
class Anchor:
    """One sample with its reference distribution: `top` has one row per reply token."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    top: TopLogps


def base_anchors(resident: Resident, cache: Path, count: int) -> list[Anchor]:
    """Return about `count` anchors of the base model, from the cache folder or made now (and kept there); the cache may
    be deleted any time.

    Prompts come from the `anchor_file` of the settings first, from the built-in ones for the rest; where the settings
    leave the number open
    (`anchor_items` 0) those of the file come on top. Raises BadData for a file that is no such file,
    BadSetting where no prompt leaves room for a reply.
    """
    prompts = _prompts(resident, count)
    if not prompts:
        most = resident.settings.gate.max_tokens
        raise BadSetting(
            f"gate_max_tokens {most} leaves no prompt room in the model's context of {resident.context_length} tokens; lower it"
        )
    digest = sha256(json.dumps(prompts).encode()).hexdigest()[:16]
    path = cache / f"anchors-{resident.base_digest[:16]}-{digest}-{resident.settings.gate.max_tokens}.safetensors"
    if path.exists():
        try:
            return _read(path)
        except Exception as error:  # half a file, another format: only a cache
            log.warning("anchors in %s cannot be read (%s); made again", path.name, error)
    with resident.as_base() as model, resident.autocast():
        ends = end_ids(resident.tokenizer)
        made = sample_rollouts(model, prompts, end_ids=ends, max_tokens=resident.settings.gate.max_tokens, seed=SEED)
        anchors = with_distributions(model, [(rollout.prompt_ids, rollout.ids) for rollout in made])
    _write(path, anchors)
    return anchors


def anchor_count(settings: LearnerSettings, num_parameters: int) -> int:
    """Return how many anchors there are to be: as many as the settings say, or for a small model, which samples them in
    seconds, 256, else 64.
    """
    return settings.anchors.count or (256 if num_parameters <= SMALL else 64)


def _prompts(resident: Resident, count: int) -> list[list[int]]:
    """Return the prompts as token ids; those that leave no room for a reply are left out."""
    settings = resident.settings

    def rendered(conversations: Iterable[Messages]) -> list[list[int]]:
        found = [render_prompt(resident.tokenizer, turns) for turns in conversations]
        return [ids for ids in found if len(ids) + settings.gate.max_tokens <= resident.context_length]

    theirs: list[list[int]] = []
    if settings.anchors.file is not None:
        read = read_prompts(settings.anchors.file)
        theirs = rendered(messages for messages, _ in read)
        asked = min(len(theirs), count if settings.anchors.count else MOST - count)
        theirs = [theirs[place * len(theirs) // asked] for place in range(asked)]
        if len(theirs) < len(read):
            left_out = f"{len(read) - asked} of the {len(read)} prompts of {settings.anchors.file}"
            log.warning("%s are no anchors: too long, or more than there are to be (anchor_items)", left_out)
    more = count - len(theirs) if settings.anchors.count else count
    return theirs + rendered([{"role": "user", "content": text}] for text in (anchor_prompts(more) if more else []))


@torch.no_grad()
def with_distributions(model: torch.nn.Module, replies: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Anchor]:
    """Return each (prompt, reply) with this model's next-token distribution at each reply token, kept on the CPU."""
    anchors = []
    for start in range(0, len(replies), CHUNK):
        chunk = replies[start : start + CHUNK]
        top = top_logps(completion_logits(model, chunk), TOP)
        lengths = [len(reply) for _, reply in chunk]
        pieces = [part.cpu().split(lengths) for part in (top.ids, top.logps, top.rest)]
        for (prompt, reply), ids, logps, rest in zip(chunk, *pieces, strict=True):
            anchors.append(Anchor(tuple(prompt), tuple(reply), TopLogps(ids.clone(), logps.float(), rest.float())))
    return anchors


def stacked(anchors: Sequence[Anchor], device: torch.device) -> TopLogps:
    """Return the reference distributions of all tokens of these anchors, in order."""
    columns = zip(*(anchor.top for anchor in anchors), strict=True)
    return TopLogps(*(torch.cat(list(column)).to(device) for column in columns))


def _write(path: Path, anchors: Sequence[Anchor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    everything = stacked(anchors, torch.device("cpu"))
    replies = json.dumps([[anchor.prompt_ids, anchor.completion_ids] for anchor in anchors])
    tensors = {"ids": everything.ids.to(torch.int32), "logps": everything.logps, "rest": everything.rest}
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished, {"replies": replies})
    unfinished.replace(path)


def _read(path: Path) -> list[Anchor]:
    with safe_open(path, "pt") as file:
        replies = json.loads(file.metadata()["replies"])
        lengths = [len(reply) for _, reply in replies]
        ids, logps, rest = (file.get_tensor(name).split(lengths) for name in ("ids", "logps", "rest"))
    return [
        Anchor(tuple(prompt), tuple(reply), TopLogps(ids[place].long(), logps[place], rest[place]))
        for place, (prompt, reply) in enumerate(replies)
    ]
