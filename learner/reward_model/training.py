"""Trains a reward model: full-batch gradient descent on an ensemble of bootstrapped heads."""

from collections.abc import Sequence

import torch

from learner.algorithms.reward import RewardHeads, bias_prior_loss, bootstrap_weights
from learner.algorithms.statistics import MovingStatistics
from learner.data.examples import Example
from learner.errors import NothingToLearn
from learner.model.features import completion_features
from learner.model.resident import Resident
from learner.reward_model.label_losses import Labels, completions_of
from learner.reward_model.model import RewardModel
from learner.settings import RewardModelSettings

NUM_HEADS = 10  # their disagreement is the reward model's uncertainty
NUM_STEPS = 200  # of full-batch gradient descent on the heads
LEARNING_RATE = 0.01  # of Adam
PRIOR_STRENGTH = 0.5  # how strongly each head is held to its own random start, against one label


def trained_reward_model(
    resident: Resident, examples: Sequence[Example], settings: RewardModelSettings, *, seed: int, token_budget: int
) -> tuple[RewardModel, dict[str, float]]:
    """Return a reward model of these examples, and its training metrics.

    `token_budget` is the most tokens of one forward pass. Raises NothingToLearn for fewer than `min_labels` examples.
    """
    if len(examples) < settings.min_labels:
        raise NothingToLearn(
            f"a reward model needs {settings.min_labels} labels, and there are {len(examples)}; "
            "collect more feedback, or lower reward_model.min_labels"
        )
    features = completion_features(resident, completions_of(examples), token_budget)  # (R, D)
    center = features.mean(0)
    scale = features.std(0).clamp(min=1e-3) * features.size(1) ** 0.5 / 4.0
    scaled = (features - center) / scale
    labels = Labels.of(examples)
    heads = RewardHeads(features.size(1), NUM_HEADS, seed=seed)
    biases = torch.nn.Parameter(torch.zeros(len(labels.raters)))
    adam = torch.optim.Adam([heads.weight, biases], lr=LEARNING_RATE)
    resampled = bootstrap_weights(NUM_HEADS, torch.tensor([example.seq for example in examples]), seed=seed)
    loss = torch.zeros(())
    for _ in range(NUM_STEPS):
        by_example = labels.losses(heads(scaled), biases)  # (E, N)
        weights = resampled * labels.example_weights
        loss = (by_example * weights).sum() / labels.example_weights.sum() / NUM_HEADS
        prior = heads.prior_loss(len(examples), strength=PRIOR_STRENGTH) / NUM_HEADS
        loss = loss + prior + bias_prior_loss(biases).sum() / len(examples)
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        mean = heads(scaled).mean(0)
    statistics = MovingStatistics().updated(mean.mean().item(), mean.var().item())
    model = RewardModel(heads, center, scale, statistics, resident.base_digest)
    return model, {
        "reward/loss": loss.item(),
        "reward/labels": float(len(examples)),
        "reward/spread": statistics.std(floor=0.0),
    }
