"""The reward model that stays: it follows all feedback, and predicts each new label before it learns it."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from learner.data.examples import Example
from learner.data.weighting import FLIP_RATE, Scales, with_example_weights
from learner.model.anchors import Anchor
from learner.model.feature_cache import FeatureCache
from learner.model.features import completion_features
from learner.model.resident import Resident
from learner.reward_model.frame import Frame
from learner.reward_model.label_losses import Labels, completions_of
from learner.reward_model.model import RewardModel
from learner.reward_model.prequential import Predictions, is_choice, is_of_equal_length
from learner.reward_model.training import fitted_reward_model
from learner.settings import LearnerSettings
from policy.errors import VersionCorrupt
from policy.reward_folders import reward_folder

log = logging.getLogger(__name__)
MAX_LABELS = 4096  # newest labels that the heads are fitted to
BLOCK = 16  # new labels that are predicted together, by heads that saw none of them


class RewardKeeper:
    """Fits the reward model to all feedback, from the heads that the last fit left in the data folder."""

    def __init__(self, resident: Resident, settings: LearnerSettings, anchors: Callable[[], list[Anchor]]) -> None:
        self._resident, self._settings, self._anchors = resident, settings, anchors
        self.features = FeatureCache(resident, settings.data / "cache")
        self._frame: Frame | None = None

    def learn(
        self,
        examples: Sequence[Example],
        *,
        trust: Mapping[str, float],
        held_out: Sequence[Example] = (),
        begin: int | None = None,
    ) -> tuple[RewardModel, dict[str, float]]:
        """Return the reward model of these examples, ties included, and its metrics.

        It begins at the heads of the reward model with number `begin`, where that is there. Examples that this one has
        not predicted yet are predicted first. Those of `held_out`, and others of the same person on the same prompt,
        are predicted and not learned. Raises NothingToLearn for fewer than `reward_model.min_labels` examples.
        """
        scales = replace(Scales.of(self._settings), half_life=math.inf)  # taste does not age with versions
        weighted = with_example_weights(
            sorted(examples, key=lambda example: example.seq)[-MAX_LABELS:],
            parent=0,
            trust=trust,
            default_flip_rate=FLIP_RATE,
            scales=scales,
        )
        known = [example for example in weighted if example.example_weight > 0]
        away = {(example.rater_id, example.prompt_ids) for example in held_out}
        learned = [example for example in known if (example.rater_id, example.prompt_ids) not in away]
        start = self._begin(begin)
        predictions, model = self._predicted(known, learned, start)
        model, metrics = self._fitted(learned, model, min_labels=self._settings.reward_model.min_labels)
        model.predictions = predictions
        model.upto_seq = max([example.seq for example in known], default=0)
        model.num_labels = len(learned)
        model.feedback_ids = tuple(dict.fromkeys(row for example in learned for row in example.feedback_ids))
        ties = sum(example.is_tie for example in learned)
        return model, metrics | predictions.metrics() | {"reward/ties": float(ties)}

    def _predicted(
        self, known: Sequence[Example], learned: Sequence[Example], start: RewardModel | None
    ) -> tuple[Predictions, RewardModel | None]:
        """Return the record with the outcomes of new examples, and the last model that predicted.

        Many new examples at once, such as an import, are predicted in growing blocks. Between blocks the heads learn
        the earlier ones.
        """
        predictions, model = (start.predictions, start) if start is not None else (Predictions(), None)
        after = start.upto_seq if start is not None else 0
        seen = sum(example.seq <= after for example in known)
        while seen < len(known):
            block = known[seen : seen + max(BLOCK, seen)] if model is not None else known[:1]
            if model is not None:
                predictions = predictions.added(*self._outcomes(model, block))
            seen += len(block)
            if seen < len(known):
                upto = known[seen - 1].seq
                earlier = [example for example in learned if example.seq <= upto]
                if earlier:
                    model, _ = self._fitted(earlier, model)
        return predictions, model

    def _outcomes(self, model: RewardModel, block: Sequence[Example]) -> tuple[list[bool], list[bool], list[bool]]:
        """Return which predictions of choices, of choices of equal length, and of thumbs are right."""
        labels, features = Labels.of(block), self.features.features(completions_of(block))
        scores, equal_length = model.scores(features).mean(0), model.equal_length_scores(features).mean(0)

        def leads(values: Tensor, among: Callable[[Example], bool]) -> list[bool]:
            chosen = [pair for pair in labels.pairs if is_choice(block[pair.example]) and among(block[pair.example])]
            return [bool(values[pair.good] > values[pair.bad]) for pair in chosen]

        thumbs = [
            bool(scores[thumb.completion] > model.biases.get(labels.raters[thumb.rater], 0.0)) == thumb.up
            for thumb in labels.thumbs
            if not block[thumb.example].is_implicit
        ]
        return leads(scores, lambda _: True), leads(equal_length, is_of_equal_length), thumbs

    def _fitted(
        self, examples: Sequence[Example], start: RewardModel | None, *, min_labels: int = 1
    ) -> tuple[RewardModel, dict[str, float]]:
        return fitted_reward_model(
            self.features.features,
            examples,
            min_labels=min_labels,
            base_digest=self._resident.base_digest,
            seed=self._settings.seed,
            frame=None if start is not None else self._own_frame(),
            start=start,
        )

    def _begin(self, number: int | None) -> RewardModel | None:
        """Return the heads to begin from; None where they are gone, unreadable, or of another base model."""
        if number is None:
            return None
        try:
            model = RewardModel.read(reward_folder(self._settings.data, number))
        except VersionCorrupt as error:
            log.warning("the reward model begins anew: %s", error)
            return None
        return model if model.base_digest == self._resident.base_digest else None

    def _own_frame(self) -> Frame:
        """Return the frame that the anchors give, always the same ones; the first call computes it."""
        if self._frame is None:
            some = [(anchor.prompt_ids, anchor.completion_ids) for anchor in self._anchors()]
            self._frame = Frame.of(completion_features(self._resident, some, self._settings.token_budget))
        return self._frame
