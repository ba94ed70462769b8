"""Trust in raters, as an update uses it: estimated from the newest feedback, or the last estimate on record."""

from collections.abc import Mapping, Sequence

from learner.data.examples import Example
from learner.model.feature_cache import FeatureCache
from learner.reward_model.agreement import trust_of_raters
from learner.reward_model.scorer import RaterLabel
from learner.settings import TrustSettings

TRUST_PRIOR = 0.8  # chance that a rater of whom little is known is right
TRUST_STRENGTH = 9.0  # how many feedback rows that chance is worth
MIN_RATERS = 3  # between two who disagree, nothing decides
GOLD = 0.95  # chance that a gold rater is right


class TrustEstimator:
    """Estimates trust in raters, on the reward model's features."""

    def __init__(self, features: FeatureCache, settings: TrustSettings) -> None:
        self._features, self._settings = features, settings

    def trust(self, examples: Sequence[Example]) -> dict[str, float]:
        """Return each rater's chance in (0, 1) to be right, from the newest `trust.feedback` of these examples.

        {} with fewer than three raters.
        """
        count = self._settings.feedback
        explicit = sorted((example for example in examples if not example.is_implicit), key=lambda example: example.seq)
        newest = explicit[-count:] if count else []
        if len({example.rater_id for example in newest}) < MIN_RATERS:
            return {}
        completions = list(
            dict.fromkeys((example.prompt_ids, side.ids) for example in newest for side in example.completions)
        )
        rows = {completion: row for row, completion in enumerate(completions)}
        labels = [
            RaterLabel(
                example.rater_id,
                rows[example.prompt_ids, example.good.ids] if example.good is not None else None,
                rows[example.prompt_ids, example.bad.ids] if example.bad is not None else None,
            )
            for example in newest
        ]
        return trust_of_raters(
            self._features.features(completions),
            labels,
            pinned=gold_trust(self._settings),
            prior_mean=TRUST_PRIOR,
            prior_strength=TRUST_STRENGTH,
        )


def gold_trust(settings: TrustSettings) -> dict[str, float]:
    """Return the trust in the raters that the operator vouches for."""
    return {name.strip(): GOLD for name in settings.gold_raters.split(",") if name.strip()}


def trust_in_force(
    examples: Sequence[Example], estimates: Mapping[str, float], stored: Mapping[str, float], settings: TrustSettings
) -> dict[str, float]:
    """Return trust by rater of these examples: the new estimate, else the stored one, else the prior.

    Replay returns examples of raters who have none among the newest. {} while nobody was ever estimated.
    """
    if not settings.feedback or not (estimates or stored):
        return {}
    known = {**stored, **gold_trust(settings)}
    raters = dict.fromkeys(example.rater_id for example in examples)
    return {rater: estimates.get(rater, known.get(rater, TRUST_PRIOR)) for rater in raters}
