"""The reward model by itself: trained from a store or a file, measured, and asked what people would say of a reply."""

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
from learner.model.features import completion_features
from learner.model.resident import Resident
from learner.reward_model.model import (
    Calibration,
    RewardModel,
    calibration_of,
    newest_reward_folder,
    next_reward_folder,
    trained_reward_model,
)
from learner.reward_model.trust import TrustEstimator, believed_of
from learner.settings import LearnerSettings
from store.database import open_store

HOLDOUT = 0.2


def train_reward_model(settings: LearnerSettings, file: Path | None) -> dict[str, Any]:
    """Train a reward model on a file's judgements, or on all feedback in the store; write it to the data folder; return
    what it is worth.

    A fifth of the judgements is held out to measure it. Raises NothingToLearn, BadData.
    """
    resident = Resident(settings)
    material = _judgements(resident, settings, file)
    trust = believed_of(material.new, TrustEstimator(resident, settings).trust(material.new), material.trust, settings)
    kept, held_out = without_holdout(material.new, HOLDOUT, settings.seed)
    tied = material.ties if kept else ()  # by themselves they tell nothing good from bad
    kept = with_example_weights(kept, parent=0, trust=trust, default_flip_rate=FLIP_RATE, scales=Scales.of(settings))
    ties = with_example_weights(tied, parent=0, trust=trust, default_flip_rate=FLIP_RATE, scales=Scales.of(settings))
    model, metrics = trained_reward_model(resident, [*kept, *ties], settings, settings.seed)
    metrics["reward/ties"] = float(len(ties))
    folder = next_reward_folder(settings.data)
    digest = model.write(
        folder, settings.seed, settings.model_dump(mode="json", exclude={"data"}), base_model=settings.model
    )
    measured = _plain(calibration_of(model, resident, held_out, settings.token_budget)) if held_out else None
    return {"folder": str(folder), "digest": digest, **metrics, "held_out": measured}


def measure_reward_model(settings: LearnerSettings, file: Path) -> dict[str, Any]:
    """Return how good the newest reward model is on a file's judgements. Raises NothingToLearn where there is no model,
    BadData.
    """
    resident = Resident(settings)
    model = newest_model(settings, resident)
    return _plain(calibration_of(model, resident, _of_file(resident, file), settings.token_budget))


def scores_of(settings: LearnerSettings, asked: Sequence[tuple[str, str]]) -> list[dict[str, float]]:
    """Return the newest reward model's `score` (heads' mean, in units of its training replies' spread) and `doubt` of
    (prompt, reply) texts.

    Raises NothingToLearn where there is no model, BadData for a text longer than the base model's context.
    """
    resident = Resident(settings)
    model = newest_model(settings, resident)
    render = render_with(resident.tokenizer)
    replies = [render([{"role": "user", "content": prompt}], reply) for prompt, reply in asked]
    longest, most = max(len(prompt) + len(reply) for prompt, reply in replies), resident.context_length
    if longest > most:
        raise BadData(f"prompt and reply are {longest} tokens, and {settings.model} reads {most} at most; shorten them")
    scores = model.scores(completion_features(resident, replies, settings.token_budget)).detach()
    spread = model.moments.std()
    means, doubts = (scores.mean(0) - model.moments.mean) / spread, scores.std(0, unbiased=False) / spread
    return [{"score": mean, "doubt": doubt} for mean, doubt in zip(means.tolist(), doubts.tolist(), strict=True)]


def newest_model(settings: LearnerSettings, resident: Resident) -> RewardModel:
    """Return the newest reward model of the data folder. Raises NothingToLearn, VersionCorrupt, or BadData for that of
    another base model.
    """
    folder = newest_reward_folder(settings.data)
    model = RewardModel.read(folder)
    if model.base_digest != resident.base_digest:
        raise BadData(
            f"the reward model in {folder} reads another base model than {settings.model}; train one with `attune reward train`"
        )
    return model


def _judgements(resident: Resident, settings: LearnerSettings, file: Path | None) -> Material:
    """Return what people said, and of a store the trust in them that is on record."""
    if file is not None:
        return Material(tuple(_of_file(resident, file, to_learn=True)), ())
    db = open_store(settings.data)
    try:
        render = render_with(resident.tokenizer)
        return material_of(db, FeedbackRange.everything(), render, max_tokens=resident.context_length)
    finally:
        db.close()


def _of_file(resident: Resident, file: Path, *, to_learn: bool = False) -> list[Example]:
    form, examples, left_out = read_examples(file, render_with(resident.tokenizer), max_tokens=resident.context_length)
    if form == "sft":
        raise BadData(f"{file} holds demonstrations alone; a reward model learns from preferences or thumbs")
    if not examples:
        raise BadData(f"{file} holds nothing to judge by; left out: {left_out}")
    if to_learn:
        require_both_labels(form, examples, file, "a reward model")
    return examples


def _plain(measured: Calibration) -> dict[str, Any]:
    return {name: value if value == value else None for name, value in asdict(measured).items()}  # JSON knows no NaN
