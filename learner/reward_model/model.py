"""The reward model: what people would say of a reply, learned from all that they said, with its own doubt.

Frozen features of the base model (the reply's last hidden state and the mean over its tokens) under an ensemble of
linear heads: seconds
to train, useful from some dozen labels on, and unable to drift with the policy that it judges.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from learner.algorithms.reward import (
    RewardHeads,
    area_under_curve,
    bias_prior_loss,
    bootstrap_weights,
    bradley_terry_loss,
    correction_margin,
    expected_calibration_error,
    lower_confidence_bound,
    thumb_loss,
)
from learner.algorithms.sft import change_of
from learner.algorithms.statistics import MovingStatistics
from learner.data.examples import Example
from learner.errors import NothingToLearn
from learner.model.features import completion_features
from learner.model.resident import Resident
from learner.settings import LearnerSettings
from policy.versions import Fingerprint, read_version, write_version

log = logging.getLogger(__name__)
NUM_HEADS = 10  # their disagreement is the reward model's uncertainty
NUM_STEPS = 200  # of full-batch gradient descent on the heads
LEARNING_RATE = 0.01  # of Adam
PRIOR_STRENGTH = 0.5  # how strongly each head is held to its own random start, against one label
FORMAT = 1


def next_reward_folder(data: Path) -> Path:
    """Return where the next reward model goes: they are numbered by themselves, not as versions are."""
    numbers = [int(path.name) for path in (data / "rewards").glob("[0-9]*")]
    return data / "rewards" / f"{max(numbers, default=0) + 1:06d}"


def newest_reward_folder(data: Path) -> Path:
    """Return the folder of the newest reward model. Raises NothingToLearn where there is none."""
    found = sorted(path for path in (data / "rewards").glob("[0-9]*") if (path / "manifest.json").exists())
    if not found:
        raise NothingToLearn(f"there is no reward model in {data / 'rewards'}; make one with `attune reward train`")
    return found[-1]


@dataclass(frozen=True)
class Calibration:
    """How good a reward model is on judgements that it was not trained on; NaN where there is nothing to measure by."""

    pairs: int
    pair_accuracy: float
    equal_length_accuracy: float
    thumbs: int
    thumb_auc: float
    calibration_error: float


class RewardModel:
    """Heads over frozen features. `features` must come from `completion_features` on the same base model."""

    def __init__(
        self, heads: RewardHeads, centre: Tensor, scale: Tensor, moments: MovingStatistics, base_digest: str
    ) -> None:
        self.heads, self.centre, self.scale, self.moments, self.base_digest = heads, centre, scale, moments, base_digest

    def scores(self, features: Tensor) -> Tensor:
        """Return (E, N) scores of (N, D) features; only differences mean anything."""
        return self.heads((features.to(self.centre) - self.centre) / self.scale)

    @torch.no_grad()
    def rewards(self, features: Tensor, *, pessimism: float, limit: float = 5.0) -> Tensor:
        """Return (N,): what a policy may be trained on, in units of the spread over people's own replies."""
        return lower_confidence_bound(self.scores(features), self.moments, pessimism=pessimism, limit=limit)

    def write(self, folder: Path, seed: int, settings: dict[str, Any], *, base_model: str) -> str:
        """Write a version folder of kind `reward`, numbered by its name; return its digest."""

        def save(to: Path) -> None:
            tensors = {
                "weight": self.heads.weight.detach(),
                "initial": self.heads.initial,
                "centre": self.centre,
                "scale": self.scale,
            }
            save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, to / "heads.safetensors")
            (to / "reward.json").write_text(json.dumps({"format": FORMAT, "moments": list(self.moments)}) + "\n")

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
            weight, initial, centre, scale = (
                file.get_tensor(name) for name in ("weight", "initial", "centre", "scale")
            )
        heads = RewardHeads(weight.size(1), weight.size(0))
        with torch.no_grad():
            heads.weight.copy_(weight)
            heads.initial.copy_(initial)
        moments = MovingStatistics(*json.loads((folder / "reward.json").read_text())["moments"])
        return cls(heads, centre, scale, moments, manifest.base_digest)


def trained_reward_model(
    resident: Resident, examples: Sequence[Example], settings: LearnerSettings, seed: int
) -> tuple[RewardModel, dict[str, float]]:
    """Return a reward model of these examples, and its training metrics. Raises NothingToLearn when they are too few."""
    if len(examples) < settings.reward_model.min_labels:
        raise NothingToLearn(
            f"a reward model wants {settings.reward_model.min_labels} judgements, there are {len(examples)}"
        )
    replies = [(example.prompt_ids, reply.ids) for example in examples for reply in example.completions]
    features = completion_features(resident, replies, settings.token_budget)
    centre, scale = features.mean(0), features.std(0).clamp(min=1e-3) * features.size(1) ** 0.5 / 4.0
    data = _Judgements.of(examples)
    heads = RewardHeads(features.size(1), NUM_HEADS, seed=seed)
    biases = torch.nn.Parameter(torch.zeros(len(data.raters)))
    adam = torch.optim.Adam([heads.weight, biases], lr=LEARNING_RATE)
    resampled = bootstrap_weights(NUM_HEADS, torch.tensor([example.seq for example in examples]), seed=seed)
    ready = (features - centre) / scale
    loss = torch.zeros(())
    for _ in range(NUM_STEPS):
        per_item = data.losses(heads(ready), biases)  # (E, N)
        weights = resampled * data.weights
        loss = (per_item * weights).sum() / data.weights.sum() / NUM_HEADS
        prior = heads.prior_loss(len(examples), strength=PRIOR_STRENGTH) / NUM_HEADS
        loss = loss + prior + bias_prior_loss(biases).sum() / len(examples)
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        mean = heads(ready).mean(0)
    moments = MovingStatistics().updated(mean.mean().item(), mean.var().item())
    model = RewardModel(heads, centre, scale, moments, resident.base_digest)
    return model, {
        "reward/loss": loss.item(),
        "reward/labels": float(len(examples)),
        "reward/spread": moments.std(floor=0.0),
    }


@dataclass(frozen=True)
class _Judgements:
    """Examples as indices into their replies' features: pairs and corrections first, in order, then thumbs."""

    two: list[tuple[int, int, int]]  # example, good reply, bad reply
    one: list[tuple[int, int, bool, int]]  # example, reply, up, rater
    margins: Tensor
    is_tie: Tensor  # bool, of `two`
    flip_rates: Tensor  # (N,) by example
    weights: Tensor  # (N,) by example
    raters: list[str]

    @classmethod
    def of(cls, examples: Sequence[Example]) -> "_Judgements":
        raters = sorted({example.rater_id for example in examples})
        two: list[tuple[int, int, int]] = []
        one: list[tuple[int, int, bool, int]] = []
        margins: list[float] = []
        place = 0
        for number, example in enumerate(examples):
            if example.good is not None and example.bad is not None:
                two.append((number, place, place + 1))
                margins.append(_margin(example))
            else:
                one.append((number, place, example.up, raters.index(example.rater_id)))
            place += len(example.completions)
        flips = torch.tensor([example.flip_rate for example in examples])
        is_tie = torch.tensor([examples[number].is_tie for number, _, _ in two], dtype=torch.bool)
        return cls(
            two,
            one,
            torch.tensor(margins),
            is_tie,
            flips,
            torch.tensor([example.example_weight for example in examples]),
            raters,
        )

    def losses(self, scores: Tensor, biases: Tensor) -> Tensor:
        """Return (E, N) losses by example from (E, replies) scores."""
        result = scores.new_zeros(scores.size(0), len(self.weights))
        if self.two:
            which, good, bad = (torch.tensor(column) for column in zip(*self.two, strict=True))
            values, _ = bradley_terry_loss(
                scores[:, good],
                scores[:, bad],
                margin=self.margins,
                flip_rate=self.flip_rates[which],
                is_tie=self.is_tie,
            )
            result = result.index_add(1, which, values)
        if self.one:
            which, reply, up, rater = (torch.tensor(column) for column in zip(*self.one, strict=True))
            values, _ = thumb_loss(scores[:, reply], up, biases[rater], flip_rate=self.flip_rates[which])
            result = result.index_add(1, which, values)
        return result


def _margin(example: Example) -> float:
    if example.kind != "correction" or example.good is None or example.bad is None:
        return 0.0
    change = change_of(example.bad.ids, example.good.ids)
    return float(correction_margin(torch.tensor(float(change.num_changed)), torch.tensor(float(len(example.good.ids)))))


@torch.no_grad()
def calibration_of(model: RewardModel, resident: Resident, examples: Sequence[Example], budget: int) -> Calibration:
    """Measure a reward model on judgements that it was not trained on."""
    replies = [(example.prompt_ids, reply.ids) for example in examples for reply in example.completions]
    scores = model.scores(completion_features(resident, replies, budget)).mean(0)
    data = _Judgements.of(examples)
    right: list[bool] = []
    equal: list[bool] = []
    ahead: list[float] = []
    for number, good, bad in data.two:
        lead = float(scores[good] - scores[bad])
        ahead.append(lead)
        right.append(lead > 0)
        sides = examples[number].completions
        if abs(len(sides[0].ids) - len(sides[1].ids)) <= 0.1 * len(sides[0].ids):
            equal.append(lead > 0)
    thumbs = torch.tensor([up for _, _, up, _ in data.one], dtype=torch.bool)
    of_thumbs = scores[torch.tensor([reply for _, reply, _, _ in data.one], dtype=torch.long)]
    sure = torch.sigmoid(torch.tensor(ahead)).abs()
    confidence, correct = torch.maximum(sure, 1 - sure), torch.tensor(right, dtype=torch.bool)
    return Calibration(
        pairs=len(right),
        pair_accuracy=_share(right),
        equal_length_accuracy=_share(equal),
        thumbs=len(data.one),
        thumb_auc=area_under_curve(of_thumbs, thumbs),
        calibration_error=expected_calibration_error(confidence, correct),
    )


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits) if hits else float("nan")
