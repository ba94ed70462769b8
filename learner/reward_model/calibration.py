"""Measures a reward model on feedback that it was not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from learner.algorithms.reward import area_under_curve, expected_calibration_error
from learner.data.examples import Example
from learner.model.features import completion_features
from learner.model.resident import Resident
from learner.reward_model.label_losses import Labels, completions_of
from learner.reward_model.model import RewardModel
from learner.reward_model.prequential import is_of_equal_length


@dataclass(frozen=True)
class Calibration:
    """How good a reward model is on held-out feedback; NaN where there is nothing to measure by.

    `equal_length_accuracy` is that of the score without its length part, on pairs of equal length.
    """

    pairs: int
    pair_accuracy: float
    equal_length_accuracy: float
    thumbs: int
    thumb_auc: float
    calibration_error: float


@torch.no_grad()
def calibration_of(model: RewardModel, resident: Resident, examples: Sequence[Example], budget: int) -> Calibration:
    """Return how well a reward model predicts the labels of these examples.

    `budget` is the most tokens of one forward pass.
    """
    features = completion_features(resident, completions_of(examples), budget)
    scores = model.scores(features).mean(0)  # (R,)
    equal_length = model.equal_length_scores(features).mean(0)
    labels = Labels.of(examples)
    leads = [float(scores[pair.good] - scores[pair.bad]) for pair in labels.pairs]
    correct = [lead > 0 for lead in leads]
    equal = [
        bool(equal_length[pair.good] > equal_length[pair.bad])
        for pair in labels.pairs
        if is_of_equal_length(examples[pair.example])
    ]
    ups = torch.tensor([thumb.up for thumb in labels.thumbs], dtype=torch.bool)
    thumb_scores = scores[torch.tensor([thumb.completion for thumb in labels.thumbs], dtype=torch.long)]
    chances = torch.sigmoid(torch.tensor(leads))
    confidence = torch.maximum(chances, 1 - chances)
    return Calibration(
        pairs=len(labels.pairs),
        pair_accuracy=_share(correct),
        equal_length_accuracy=_share(equal),
        thumbs=len(labels.thumbs),
        thumb_auc=area_under_curve(thumb_scores, ups),
        calibration_error=expected_calibration_error(confidence, torch.tensor(correct, dtype=torch.bool)),
    )


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits) if hits else float("nan")
