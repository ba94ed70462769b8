"""The reward model: an ensemble of linear heads on frozen features of the base model, and its files.

The heads predict how people rate a completion. Their disagreement is the model's uncertainty. The features are frozen,
so the model does not drift with the policy that it scores.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from learner.algorithms.reward import RewardHeads, lower_confidence_bound
from learner.algorithms.statistics import MovingStatistics
from learner.errors import NothingToLearn
from policy.versions import Fingerprint, read_version, write_version

FORMAT = 1
TENSORS = ("weight", "initial", "centre", "scale")  # names on disk


def next_reward_folder(data: Path) -> Path:
    """Return where the next reward model goes. Reward models have numbers of their own, apart from versions."""
    numbers = [int(path.name) for path in (data / "rewards").glob("[0-9]*")]
    return data / "rewards" / f"{max(numbers, default=0) + 1:06d}"


def newest_reward_folder(data: Path) -> Path:
    """Return the folder of the newest reward model. Raises NothingToLearn where there is none."""
    found = sorted(path for path in (data / "rewards").glob("[0-9]*") if (path / "manifest.json").exists())
    if not found:
        raise NothingToLearn(f"there is no reward model in {data / 'rewards'}; make one with `attune reward train`")
    return found[-1]


class RewardModel:
    """Heads on features of `completion_features`, centered and scaled.

    `center` and `scale` are (D,). `statistics` are of the heads' mean on the training completions. `base_digest` names
    the base model that the features come from.
    """

    def __init__(
        self, heads: RewardHeads, center: Tensor, scale: Tensor, statistics: MovingStatistics, base_digest: str
    ) -> None:
        self.heads = heads
        self.center, self.scale = center, scale
        self.statistics = statistics
        self.base_digest = base_digest

    def scores(self, features: Tensor) -> Tensor:
        """Return (E, N) scores of (N, D) features. Only differences between scores mean anything."""
        return self.heads((features.to(self.center) - self.center) / self.scale)

    @torch.no_grad()
    def rewards(self, features: Tensor, *, pessimism: float, limit: float = 5.0) -> Tensor:
        """Return (N,) rewards to train a policy on: a lower confidence bound, clipped to +-`limit`.

        The unit is the standard deviation of the scores of the training completions.
        """
        return lower_confidence_bound(self.scores(features), self.statistics, pessimism=pessimism, limit=limit)

    def write(self, folder: Path, seed: int, settings: dict[str, Any], *, base_model: str, upto_seq: int) -> str:
        """Write a version folder of kind `reward`, numbered by its name. Return its digest.

        `upto_seq` is the seq of the last feedback that it may have learned from: erasing a person asks for it.
        """

        def save(to: Path) -> None:
            values = (self.heads.weight.detach(), self.heads.initial, self.center, self.scale)
            tensors = {name: value.cpu().contiguous() for name, value in zip(TENSORS, values, strict=True)}
            save_file(tensors, to / "heads.safetensors")
            (to / "reward.json").write_text(
                json.dumps({"format": FORMAT, "moments": list(self.statistics), "upto_seq": upto_seq}) + "\n"
            )

        return write_version(
            folder,
            version=int(folder.name),
            parent=None,
            base_model=base_model,
            base_digest=self.base_digest,
            save=save,
            fingerprint=Fingerprint([], [], []),
            seed=seed,
            settings=settings,
            kind="reward",
        ).digest

    @classmethod
    def read(cls, folder: Path) -> "RewardModel":
        """Read what `write` wrote. Raises VersionCorrupt."""
        manifest = read_version(folder)
        with safe_open(folder / "heads.safetensors", "pt") as file:
            weight, initial, center, scale = (file.get_tensor(name) for name in TENSORS)
        heads = RewardHeads(weight.size(1), weight.size(0))
        with torch.no_grad():
            heads.weight.copy_(weight)
            heads.initial.copy_(initial)
        statistics = MovingStatistics(*json.loads((folder / "reward.json").read_text())["moments"])
        return cls(heads, center, scale, statistics, manifest.base_digest)
