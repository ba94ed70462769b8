"""Folders of reward models in the data folder: numbered, written like versions, and removed with what they learned."""

import json
import shutil
from pathlib import Path
from typing import Literal

from policy.versions import MANIFEST

DETAILS = "reward.json"
KEPT = 8  # the learner's newest reward models; a run that a crash interrupted begins from one of them
Origin = Literal["learner", "store", "file"]
"""What made a reward model: the learner, or `attune reward train` on the store or on a file."""


def reward_folder(data: Path, number: int) -> Path:
    """Return the folder of a reward model."""
    return data / "rewards" / f"{number:06d}"


def reward_numbers(data: Path, origin: Origin | None = None) -> list[int]:
    """Return the numbers of the complete reward models, oldest first; with `origin` only those that it made."""
    folders = sorted((data / "rewards").glob("[0-9]*"))
    complete = [folder for folder in folders if (folder / MANIFEST).exists()]
    return [int(folder.name) for folder in complete if origin is None or origin_of(folder) == origin]


def next_reward_folder(data: Path) -> Path:
    """Return where the next reward model goes. Reward models have numbers of their own, apart from versions."""
    numbers = [int(path.name) for path in (data / "rewards").glob("[0-9]*")]
    return reward_folder(data, max(numbers, default=0) + 1)


def origin_of(folder: Path) -> Origin | None:
    """Return what made a reward model; None for one that cannot be read, or of an earlier release."""
    try:
        origin: Origin | None = json.loads((folder / DETAILS).read_text())["origin"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return origin


def remove_old_rewards(data: Path) -> None:
    """Remove all but the newest `KEPT` reward models of the learner."""
    for number in reward_numbers(data, "learner")[:-KEPT]:
        shutil.rmtree(reward_folder(data, number), ignore_errors=True)


def upto_seq_of(folder: Path) -> float:
    """Return the `seq` of the last feedback that a reward model may have learned from; unknown is all of it."""
    try:
        return float(json.loads((folder / DETAILS).read_text())["upto_seq"])
    except (OSError, ValueError, LookupError, TypeError):
        return float("inf")


def remove_learned_rewards(data: Path, first_seq: int) -> list[int]:
    """Remove every reward model that may have learned from feedback from `first_seq` on; return their numbers.

    Call it after a person's rows are deleted, with the seq of the first of them. The learner then fits its heads anew
    to what others rated. Models that were trained on a file stay, as they hold nothing of the store. Half-written
    folders go too.
    """
    gone = []
    for folder in sorted((data / "rewards").glob("*")):
        if origin_of(folder) != "file" and upto_seq_of(folder) >= first_seq:
            shutil.rmtree(folder, ignore_errors=True)
            gone += [int(folder.name)] if folder.name.isdigit() else []
    return gone
