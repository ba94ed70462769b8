"""The anchors of a data folder: made a part at a time, whenever there is time, and kept in the cache folder.

Their order is drawn once, so that the first few are an even selection too, and an update can do with those.
"""

import json
import logging
import os
import random
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from learner.algorithms.anchor import TopLogps
from learner.model import distributed
from learner.model.anchors import SMALL, Anchor, anchor_prompt_ids, stacked, with_distributions
from learner.model.resident import Resident

log = logging.getLogger(__name__)
SEED = 20_240_229  # anchors do not depend on an update's seed: they are made once
PART, PART_SMALL = 8, 16  # anchors that are made together, by a model with more or fewer weights than SMALL
SUFFICIENT = 16  # anchors that an update waits for; more are made while nothing is due
ON_DISK = "replies"  # key of prompts and completions in the cache files that data folders hold


class AnchorStock:
    """The anchors of one base model, about `count` of them (see `anchor_prompt_ids`); `made` are those at hand."""

    def __init__(self, resident: Resident, cache: Path, count: int) -> None:
        """Read what the cache holds. Raises BadData for a file of prompts that is none, and BadSetting."""
        self._resident = resident
        prompts = anchor_prompt_ids(resident, count)
        digest = sha256(json.dumps(prompts).encode()).hexdigest()[:16]
        self._folder = cache / f"anchors-{resident.base_digest[:16]}-{digest}-{resident.settings.gate.max_tokens}"
        random.Random(SEED).shuffle(prompts)
        size = PART_SMALL if resident.num_parameters <= SMALL else PART
        self._parts = [prompts[start : start + size] for start in range(0, len(prompts), size)]
        self.goal = len(prompts)
        """How many there will be."""
        self.made: list[Anchor] = []
        self._num_parts = 0
        while self._num_parts < len(self._parts) and (part := self._read(self._num_parts)) is not None:
            self._keep(part)

    @property
    def is_complete(self) -> bool:
        """Whether all are made."""
        return self._num_parts == len(self._parts)

    @property
    def sufficient(self) -> int:
        """How many an update begins with at least."""
        return min(SUFFICIENT, self.goal)

    def make_part(self) -> None:
        """Make the next part, and keep it in the cache."""
        resident, prompts = self._resident, self._parts[self._num_parts]
        with resident.as_base() as model, resident.autocast():
            made = resident.sample(prompts, max_tokens=resident.settings.gate.max_tokens, seed=SEED + self._num_parts)
            part = with_distributions(model, [(rollout.prompt_ids, rollout.ids) for rollout in made])
        part = distributed.the_first(part)
        if distributed.is_first():
            self._write(self._num_parts, part)
        self._keep(part)

    def first(self, count: int, making: Callable[[int, int], None] = lambda *_: None) -> list[Anchor]:
        """Return the first `count`, or all where there are fewer; those that are missing are made now.

        `making(made, count)` is called before each part.
        """
        count = min(count, self.goal)
        while len(self.made) < count:
            making(len(self.made), count)
            self.make_part()
        return self.made[:count]

    def _keep(self, part: Sequence[Anchor]) -> None:
        self.made += part
        self._num_parts += 1

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:04}.safetensors"

    def _write(self, number: int, part: Sequence[Anchor]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        everything = stacked(part, torch.device("cpu"))
        completions = json.dumps([[anchor.prompt_ids, anchor.completion_ids] for anchor in part])
        tensors = {"ids": everything.ids.to(torch.int32), "logps": everything.logps, "rest": everything.rest}
        unfinished = self._path(number).with_suffix(f".{os.getpid()}.tmp")
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished, {ON_DISK: completions})
        unfinished.replace(self._path(number))

    def _read(self, number: int) -> list[Anchor] | None:
        """Return a part from the cache, None where it is missing or damaged."""
        path = self._path(number)
        if not path.exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                completions = json.loads(file.metadata()[ON_DISK])
                lengths = [len(completion) for _, completion in completions]
                ids, logps, rest = (file.get_tensor(name).split(lengths) for name in ("ids", "logps", "rest"))
            return [
                Anchor(tuple(prompt), tuple(completion), TopLogps(ids[index].long(), logps[index], rest[index]))
                for index, (prompt, completion) in enumerate(completions)
            ]
        except Exception as error:  # half a file or another format: it is only a cache
            log.warning("anchors in %s cannot be read (%s); made again", path, error)
            return None
