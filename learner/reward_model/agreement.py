"""Trust in raters from how their labels agree with the others', though few label the same completions.

A scorer is fitted to what the *other* raters preferred among *other* completions. It predicts what a reliable rater
says of a completion. Where several others labeled the same completion, their votes add to the prediction, weighted by
trust in them. No rater votes on their own labels. Two raters do not vouch for each other: they may be one person. Trust
is the eta of Crowd-BT (Chen et al., WSDM 2013): P(label) = eta P(a reliable rater gives it) + (1 - eta) P(a reliable
rater gives the opposite). Expectation-maximisation estimates it under a prior.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from hashlib import sha256

import torch
from torch import Tensor

from learner.algorithms.example_weights import capped_by_rater
from learner.algorithms.raters import pair_raters, thumb_raters
from learner.reward_model.scorer import RaterLabel, directions_of, fitted_scorer, scaled_features

FOLDS = 5
ROUNDS = 4  # of fitting the scorer and estimating trust, each with the other's last result
EM_ROUNDS = 30
MIN_VOTES = 2  # of others on the same completion: one may be the same person's second account


def trust_of_raters(
    features: Tensor,
    labels: Sequence[RaterLabel],
    *,
    pinned: Mapping[str, float] | None = None,
    prior_mean: float = 0.8,
    prior_strength: float = 9.0,
) -> dict[str, float]:
    """Return trust (eta) by rater from labels of completions with these features (R, D).

    `pinned` fixes the trust of known raters. The prior is worth `prior_strength` labels with mean `prior_mean`. The
    estimate finds an unreliable minority. Where most raters are unreliable, pin some.
    """
    fixed = dict(pinned or {})
    raters = list(dict.fromkeys(label.rater for label in labels))
    # With known raters the rest start at a half: the first scorer is fitted to the known raters alone.
    start = 0.5 if any(rater in fixed for rater in raters) else prior_mean
    trust = {rater: fixed.get(rater, start) for rater in raters}
    scaled = scaled_features(features)
    without_votes = {rater: fixed.get(rater, 0.5) for rater in raters}
    for _ in range(ROUNDS):
        agreed = _agreement(scaled, labels, trust, without_votes, fixed)
        trust = _updated_trust(agreed, labels, fixed, prior_mean, prior_strength)
    # Votes count in one last round, by the trust that the scorer found: a group that votes alike would raise itself.
    agreed = _agreement(scaled, labels, trust, trust, fixed)
    return _updated_trust(agreed, labels, fixed, prior_mean, prior_strength)


def _agreement(
    features: Tensor,
    labels: Sequence[RaterLabel],
    trust: Mapping[str, float],
    vote_trust: Mapping[str, float],
    fixed: Mapping[str, float],
) -> dict[int, float]:
    """Return by label index the chance that a reliable rater gives this label, by the scorer and the others' votes.

    Labels of raters in `fixed` are left out, since their trust is known.
    """
    directions = directions_of(features, labels)  # (L, D + 1)
    owners = [label.rater for label in labels]
    reliability = torch.tensor([(2.0 * max(trust[rater], 0.5) - 1.0) ** 2 for rater in owners], dtype=torch.float64)
    weights = torch.tensor(capped_by_rater(reliability.tolist(), owners), dtype=torch.float64)
    flip_rates = torch.tensor([min(max(1.0 - trust[rater], 0.01), 0.49) for rater in owners], dtype=torch.float64)
    chances: dict[int, float] = {}
    unknown = [rater for rater in trust if rater not in fixed]
    folds = min(FOLDS, len(unknown))
    order = sorted(unknown, key=lambda rater: sha256(rater.encode()).hexdigest())
    for fold in range(folds):
        left_out = set(order[fold::folds])
        kept = [index for index, rater in enumerate(owners) if rater not in left_out]
        out = [index for index, rater in enumerate(owners) if rater in left_out]
        # The scorer reads no labels of the same completions: a second account would teach it what the first one says.
        rows = frozenset(row for index in out for row in labels[index].rows)
        apart = [index for index in kept if owners[index] in fixed or rows.isdisjoint(labels[index].rows)]
        scorer = fitted_scorer(directions[apart], weights[apart], flip_rates[apart])
        votes = _votes([labels[index] for index in kept], [labels[index] for index in out], vote_trust, fixed)
        chances |= dict(zip(out, torch.sigmoid(directions[out] @ scorer + votes).tolist(), strict=True))
    return chances


def _votes(
    kept: Sequence[RaterLabel], out: Sequence[RaterLabel], vote_trust: Mapping[str, float], fixed: Mapping[str, float]
) -> Tensor:
    """Return (len(out),) log-odds that a reliable rater gives each label, by the votes in `kept`.

    They are 0 where too few voted (Crowd-BT for pairs, Dawid-Skene for thumbs). Trust in voters is given, not found
    from the votes, or a group that votes alike would vouch for itself.
    """
    known: dict[Hashable, float] = {rater: max(eta, 0.5) for rater, eta in vote_trust.items()}
    both_rates: dict[Hashable, tuple[float, float]] = {rater: (eta, eta) for rater, eta in known.items()}
    voters: dict[frozenset[int], set[str]] = defaultdict(set)
    for label in kept:
        voters[label.rows].add(label.rater)
    decided = {
        rows for rows, names in voters.items() if len(names) >= MIN_VOTES or any(name in fixed for name in names)
    }
    log_odds = torch.zeros(len(out), dtype=torch.float64)
    if decided.isdisjoint(label.rows for label in out):
        return log_odds
    pairs = [(label.rater, label.good, label.bad) for label in kept if len(label.rows) == 2]
    thumbs = [(label.rater, label.rows, label.good is not None) for label in kept if len(label.rows) == 1]
    scores = pair_raters(pairs, pinned=known).scores
    good = thumb_raters(thumbs, pinned=both_rates).good
    for index, label in enumerate(out):
        if label.rows not in decided:
            continue
        if len(label.rows) == 2:
            log_odds[index] = scores[label.good] - scores[label.bad]
        else:
            chance = min(max(good[label.rows], 1e-6), 1.0 - 1e-6)
            log_odds[index] = (math.log(chance) - math.log1p(-chance)) * (1.0 if label.good is not None else -1.0)
    return log_odds


def _updated_trust(
    agreed: Mapping[int, float],
    labels: Sequence[RaterLabel],
    fixed: Mapping[str, float],
    prior_mean: float,
    prior_strength: float,
) -> dict[str, float]:
    """Return trust by rater: expectation-maximisation with the chances in `agreed` held."""
    by_rater: dict[str, list[float]] = defaultdict(list)
    for index, chance in agreed.items():
        by_rater[labels[index].rater].append(min(max(chance, 1e-3), 1.0 - 1e-3))
    trust = {label.rater: fixed[label.rater] for label in labels if label.rater in fixed}
    for rater, chances in by_rater.items():
        p, eta = torch.tensor(chances, dtype=torch.float64), prior_mean
        for _ in range(EM_ROUNDS):
            meant = eta * p / (eta * p + (1.0 - eta) * (1.0 - p))
            eta = float((meant.sum() + prior_mean * prior_strength) / (len(p) + prior_strength))
        trust[rater] = eta
    return trust
