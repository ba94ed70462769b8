"""The reward model: an ensemble of linear heads on frozen features of the base model, and its files.

The heads predict how people rate a completion. Their disagreement is the model's uncertainty. The features are frozen,
so the model does not drift with the policy that it scores.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from learner.algorithms.reward import RewardHeads, lower_confidence_bound
from learner.algorithms.statistics import MovingStatistics
from learner.errors import NothingToLearn
from learner.reward_model.frame import Frame
from learner.reward_model.prequential import Predictions
from policy.errors import VersionCorrupt
from policy.reward_folders import DETAILS, Origin, reward_folder, reward_numbers
from policy.versions import Fingerprint, read_version, write_version

FORMAT = 2
TENSORS = ("weight", "initial", "deviation", "center", "scale", "frame_slope", "slope")  # names on disk


def newest_reward_folder(data: Path) -> Path:
    """Return the folder of the newest reward model. Raises NothingToLearn where there is none."""
    numbers = reward_numbers(data)
    if not numbers:
        raise NothingToLearn(f"there is no reward model in {data / 'rewards'}; make one with `attune reward train`")
    return reward_folder(data, numbers[-1])


class RewardModel:
    """Heads on the coordinates that `frame` gives features of `completion_features`.

    `slope` (D - 1,) is how the other coordinates change with the length. `lengths` is the range of rated lengths, as a
    coordinate. `statistics` are of all heads' scores of the rated completions. `biases` are raters' thresholds for a
    thumb up. `base_digest` names the base model that the features come from, and `seed` drew the heads.
    `predictions` is the record of what was predicted before it was learned. `upto_seq` is how far: the seq of the last
    feedback that it has seen; 0 for a model of a file.
    """

    def __init__(
        self,
        heads: RewardHeads,
        frame: Frame,
        *,
        slope: Tensor,
        lengths: tuple[float, float],
        statistics: MovingStatistics,
        biases: Mapping[str, float],
        base_digest: str,
        seed: int,
    ) -> None:
        self.heads, self.frame, self.slope, self.lengths = heads, frame, slope, lengths
        self.statistics, self.biases = statistics, dict(biases)
        self.base_digest, self.seed = base_digest, seed
        self.predictions = Predictions()
        self.upto_seq = self.num_labels = 0
        self.feedback_ids: tuple[str, ...] = ()
        """The feedback that it learned from; not on disk."""

    @torch.no_grad()
    def scores(self, features: Tensor) -> Tensor:
        """Return (E, N) scores of (N, D) features. Only differences between scores mean anything.

        Length counts as people rated it, within the range of lengths that they rated: what is longer or shorter than
        any of them earns no more.
        """
        rows = self.frame.rows(features)
        rows[:, -1] = rows[:, -1].clamp(*self.lengths)
        scores: Tensor = self.heads(rows)
        return scores

    @torch.no_grad()
    def equal_length_scores(self, features: Tensor) -> Tensor:
        """Return (E, N) scores without their length part: as if all completions were equally long.

        What the other coordinates only show of the length (`slope`) is taken out too.
        """
        rows = self.frame.rows(features)
        return self.heads.weight[:, :-1] @ (rows[:, :-1] - rows[:, -1:] * self.slope).T

    def rewards(self, features: Tensor, *, pessimism: float, limit: float = 5.0) -> Tensor:
        """Return (N,) rewards to train a policy on: a lower confidence bound, clipped to +-`limit`.

        The unit is the standard deviation of all heads' scores of the rated completions.
        """
        return lower_confidence_bound(self.scores(features), self.statistics, pessimism=pessimism, limit=limit)

    def write(self, folder: Path, settings: dict[str, Any], *, base_model: str, origin: Origin = "learner") -> str:
        """Write a version folder of kind `reward`, numbered by its name. Return its digest."""

        def save(to: Path) -> None:
            heads, frame = self.heads, self.frame
            of_heads = (heads.weight.detach(), heads.initial, heads.deviation)
            values = (*of_heads, frame.center, frame.scale, frame.slope, self.slope)
            tensors = {name: value.cpu().contiguous() for name, value in zip(TENSORS, values, strict=True)}
            save_file(tensors, to / "heads.safetensors")
            details = {
                "format": FORMAT,
                "origin": origin,
                "lengths": self.lengths,
                "statistics": list(self.statistics),
                "thresholds": self.biases,
                "labels": self.num_labels,
                "upto_seq": self.upto_seq,
                "predictions": asdict(self.predictions),
            }
            (to / DETAILS).write_text(json.dumps(details) + "\n")

        return write_version(
            folder,
            version=int(folder.name),
            parent=None,
            base_model=base_model,
            base_digest=self.base_digest,
            save=save,
            fingerprint=Fingerprint([], [], []),
            seed=self.seed,
            settings=settings,
            kind="reward",
        ).digest

    @classmethod
    def read(cls, folder: Path) -> "RewardModel":
        """Read what `write` wrote. Raises VersionCorrupt, also for a format that this release does not read."""
        manifest = read_version(folder)
        details = json.loads((folder / DETAILS).read_text())
        if details.get("format") != FORMAT:
            other = f"the reward model in {folder} is of another release"
            raise VersionCorrupt(f"{other}; train one with `attune reward train`")
        with safe_open(folder / "heads.safetensors", "pt") as file:
            weight, initial, deviation, center, scale, frame_slope, slope = (file.get_tensor(name) for name in TENSORS)
        heads = RewardHeads(deviation, weight.size(0))
        with torch.no_grad():
            heads.weight.copy_(weight)
            heads.initial.copy_(initial)
        low, high = details["lengths"]
        model = cls(
            heads,
            Frame(center, scale, frame_slope),
            slope=slope,
            lengths=(low, high),
            statistics=MovingStatistics(*details["statistics"]),
            biases=details["thresholds"],
            base_digest=manifest.base_digest,
            seed=manifest.seed,
        )
        model.predictions = Predictions(**details["predictions"])
        model.num_labels, model.upto_seq = details["labels"], details["upto_seq"]
        return model
