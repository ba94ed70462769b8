"""A reward model apart from updates, for `attune reward`: train it, measure it, and score answers with it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from learner.data.datasets import read_examples, render_with, require_both_labels
from learner.data.examples import Example
from learner.data.material import FeedbackRange, Material, material_of
from learner.data.plan import without_holdout
from learner.data.weighting import FLIP_RATE, Scales, with_example_weights
from learner.errors import BadData
from learner.model.feature_cache import FeatureCache
from learner.model.features import completion_features
from learner.model.resident import Resident
from learner.reward_model.calibration import Calibration, calibration_of
from learner.reward_model.model import RewardModel, newest_reward_folder
from learner.reward_model.training import trained_reward_model
from learner.reward_model.trust import TrustEstimator, trust_in_force
from learner.settings import LearnerSettings
from policy.reward_folders import Origin, next_reward_folder
from store.database import open_store

HOLDOUT = 0.2


def train_reward_model(settings: LearnerSettings, file: Path | None) -> dict[str, Any]:
    """Train a reward model on a file, or on all feedback of the store. Write it to the data folder.

    A fifth of the examples is held out to measure it. Return the folder, its digest and the metrics. Raises
    NothingToLearn, BadData.
    """
    resident = Resident(settings)
    material = _material(resident, settings, file)
    features = FeatureCache(resident, settings.data / "cache")
    estimates = TrustEstimator(features, settings.trust).trust(material.new)
    trust = trust_in_force(material.new, estimates, material.trust, settings.trust)
    kept, held_out = without_holdout(material.new, HOLDOUT, settings.seed)
    tied = material.ties if kept else ()  # ties alone do not separate good from bad
    scales = Scales.of(settings)
    kept = with_example_weights(kept, parent=0, trust=trust, default_flip_rate=FLIP_RATE, scales=scales)
    ties = with_example_weights(tied, parent=0, trust=trust, default_flip_rate=FLIP_RATE, scales=scales)
    model, metrics = trained_reward_model(
        resident, [*kept, *ties], settings.reward_model, seed=settings.seed, token_budget=settings.token_budget
    )
    metrics["reward/ties"] = float(len(ties))
    if file is None:
        model.upto_seq = max(example.seq for example in (*material.new, *ties))
    folder = next_reward_folder(settings.data)
    recorded = settings.model_dump(mode="json", exclude={"data"})
    origin: Origin = "store" if file is None else "file"
    digest = model.write(folder, recorded, base_model=settings.model, origin=origin)
    measured = _plain(calibration_of(model, resident, held_out, settings.token_budget)) if held_out else None
    return {"folder": str(folder), "digest": digest, **metrics, "held_out": measured}


def measure_reward_model(settings: LearnerSettings, file: Path) -> dict[str, Any]:
    """Return how well the newest reward model predicts a file's labels. Raises NothingToLearn, BadData."""
    resident = Resident(settings)
    model = newest_model(settings, resident)
    return _plain(calibration_of(model, resident, _examples_of_file(resident, file), settings.token_budget))


def scores_of(settings: LearnerSettings, asked: Sequence[tuple[str, str]]) -> list[dict[str, float]]:
    """Return the newest reward model's `score` and `uncertainty` for (prompt, answer) texts.

    `score` is the heads' mean and `uncertainty` their standard deviation. The unit of both is the standard deviation
    of the training completions' scores. Raises NothingToLearn where there is no model, and BadData for a text longer
    than the base model's context.
    """
    resident = Resident(settings)
    model = newest_model(settings, resident)
    render = render_with(resident.tokenizer)
    completions = [render([{"role": "user", "content": prompt}], answer) for prompt, answer in asked]
    longest = max(len(prompt) + len(completion) for prompt, completion in completions)
    limit = resident.context_length
    if longest > limit:
        raise BadData(
            f"prompt and answer are {longest} tokens, and {settings.model} reads {limit} at most; shorten them"
        )
    scores = model.scores(completion_features(resident, completions, settings.token_budget)).detach()
    unit = model.statistics.std()
    means = (scores.mean(0) - model.statistics.mean) / unit
    uncertainties = scores.std(0, unbiased=False) / unit
    return [
        {"score": mean, "uncertainty": uncertainty}
        for mean, uncertainty in zip(means.tolist(), uncertainties.tolist(), strict=True)
    ]


def newest_model(settings: LearnerSettings, resident: Resident) -> RewardModel:
    """Return the newest reward model of the data folder.

    Raises NothingToLearn, VersionCorrupt, and BadData for a model of another base model.
    """
    folder = newest_reward_folder(settings.data)
    model = RewardModel.read(folder)
    if model.base_digest != resident.base_digest:
        raise BadData(
            f"the reward model in {folder} reads another base model than {settings.model}; "
            "train one with `attune reward train`"
        )
    return model


def _material(resident: Resident, settings: LearnerSettings, file: Path | None) -> Material:
    """Return a file's examples, or the store's with the trust on record."""
    if file is not None:
        return Material(tuple(_examples_of_file(resident, file, to_learn=True)))
    db = open_store(settings.data)
    try:
        render = render_with(resident.tokenizer)
        return material_of(
            db,
            FeedbackRange.everything(),
            render,
            max_tokens=resident.context_length,
            vocab_size=resident.vocab_size,
            thoughts=resident.thoughts,
        )
    finally:
        db.close()


def _examples_of_file(resident: Resident, file: Path, *, to_learn: bool = False) -> list[Example]:
    render = render_with(resident.tokenizer)
    form, examples, left_out = read_examples(file, render, max_tokens=resident.context_length)
    if form == "sft":
        raise BadData(f"{file} holds demonstrations alone; a reward model learns from preferences or thumbs")
    if not examples:
        raise BadData(f"{file} holds nothing to measure with; left out: {left_out}")
    if to_learn:
        require_both_labels(form, examples, file, "a reward model")
    return examples


def _plain(measured: Calibration) -> dict[str, Any]:
    """Return the numbers as JSON takes them: NaN becomes None."""
    return {name: value if value == value else None for name, value in asdict(measured).items()}
