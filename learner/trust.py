"""How far each rater can be believed, estimated from how their word fits what the others say.

People seldom judge the same two replies, so who agrees with whom is seen through a scorer: a linear model on the base model's frozen features,
fitted to what the *other* raters said. Where a reply was judged by several raters, their own votes stand in for the scorer. A rater's honesty is
then the eta of Crowd-BT (Chen et al. WSDM 2013): P(k says so) = eta P(an honest person says so) + (1 - eta) P(says the opposite), by
expectation-maximisation under a prior for honesty.
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import torch
import torch.nn.functional as F
from torch import Tensor

from learner.algorithms.raters import pair_raters, thumb_raters
from learner.algorithms.weights import capped_by_rater
from learner.examples import Example
from learner.resident import Resident
from learner.rewards import reply_features
from learner.settings import LearnerSettings

MIN_RATERS = 3  # two who disagree do not tell which of them is right
FOLDS = 5
ROUNDS = 4  # of fitting the scorer and estimating honesty, each with the other's last word
EM_ROUNDS = 30
RIDGE = 4.0  # prior precision of the scorer's weights, against one judgement
GOLD = 0.95  # chance that a gold rater is right
Ids = tuple[int, ...]


@dataclass(frozen=True)
class Judgement:
    """One word of one rater: `good` over `bad` by row of the features; a thumb has one of the two."""

    rater: str
    good: int | None
    bad: int | None


class TrustEstimator:
    """Estimates raters' honesty; remembers features by content, since most replies come again with every update."""

    def __init__(self, resident: Resident, settings: LearnerSettings) -> None:
        self._resident, self._settings = resident, settings
        self._known: dict[str, Tensor] = {}

    def trust(self, examples: Sequence[Example]) -> dict[str, float]:
        """Return each rater's chance in (0, 1) to be right, from the newest `trust_items` of these examples; {} with too few raters to tell."""
        settings = self._settings
        said = [example for example in examples if not example.is_implicit]
        newest = sorted(said, key=lambda example: example.seq)[-settings.trust_items :] if settings.trust_items else []
        if len({example.rater_id for example in newest}) < MIN_RATERS:
            return {}
        replies = list(dict.fromkeys((example.prompt_ids, reply.ids) for example in newest for reply in example.replies))
        place = {reply: number for number, reply in enumerate(replies)}
        judgements = [
            Judgement(
                example.rater_id,
                place[example.prompt_ids, example.good.ids] if example.good is not None else None,
                place[example.prompt_ids, example.bad.ids] if example.bad is not None else None,
            )
            for example in newest
        ]
        gold = {name.strip(): GOLD for name in settings.gold_raters.split(",") if name.strip()}
        return honesty_of(self._features(replies), judgements, pinned=gold, prior_mean=settings.trust_prior, prior_strength=settings.trust_strength)

    def _features(self, replies: Sequence[tuple[Ids, Ids]]) -> Tensor:
        """Return (R, D): the reward model's features and the reply's log length."""
        keys = [sha256(repr(reply).encode()).hexdigest() for reply in replies]
        new = [number for number, key in enumerate(keys) if key not in self._known]
        found = reply_features(self._resident, [replies[number] for number in new], self._settings.token_budget)
        for number, row in zip(new, found, strict=True):
            self._known[keys[number]] = torch.cat([row, torch.tensor([float(len(replies[number][1]))]).log1p()])
        features = torch.stack([self._known[key] for key in keys])
        self._known = {key: self._known[key] for key in keys}  # what was not asked for is not remembered
        return features


def honesty_of(
    features: Tensor,
    judgements: Sequence[Judgement],
    *,
    pinned: Mapping[str, float] | None = None,
    prior_mean: float = 0.8,
    prior_strength: float = 9.0,
) -> dict[str, float]:
    """Return eta by rater from judgements on replies with these features (R, D); `pinned` fixes that of known raters.

    The prior is worth `prior_strength` judgements with mean `prior_mean`. It finds a dishonest minority; where most are dishonest, pin some.
    """
    fixed = dict(pinned or {})
    raters = list(dict.fromkeys(judgement.rater for judgement in judgements))
    honesty = {rater: fixed.get(rater, prior_mean) for rater in raters}
    scaled = _scaled(features)
    shared = _votes(judgements, fixed)
    for _ in range(ROUNDS):
        agreed = _agreement(scaled, judgements, honesty, raters)
        agreed = {number: shared.get(number, value) for number, value in agreed.items()}
        honesty = _honesty(agreed, judgements, fixed, prior_mean, prior_strength)
    return honesty


def _scaled(features: Tensor) -> Tensor:
    """Return features of mean 0 whose rows have norm of about 2, so that a unit weight vector moves a score by some units."""
    centred = features.double() - features.double().mean(0)
    spread = centred.std(0)
    return torch.where(spread > 1e-9, centred / spread.clamp(min=1e-9), torch.zeros_like(centred)) * 2.0 / features.size(1) ** 0.5


def _agreement(features: Tensor, judgements: Sequence[Judgement], honesty: Mapping[str, float], raters: Sequence[str]) -> dict[int, float]:
    """Return for each judgement the chance that an honest person says so, by a scorer that saw nothing of its rater."""
    directions = torch.stack([_direction(features, judgement) for judgement in judgements])  # (J, D + 1)
    owners = [judgement.rater for judgement in judgements]
    reliability = torch.tensor([(2.0 * max(honesty[rater], 0.5) - 1.0) ** 2 for rater in owners], dtype=torch.float64)
    weights = torch.tensor(capped_by_rater(reliability.tolist(), owners), dtype=torch.float64)
    flips = torch.tensor([min(max(1.0 - honesty[rater], 0.01), 0.49) for rater in owners], dtype=torch.float64)
    found: dict[int, float] = {}
    folds = min(FOLDS, len(raters))
    order = sorted(raters, key=lambda rater: sha256(rater.encode()).hexdigest())
    for fold in range(folds):
        away = set(order[fold::folds])
        kept = [number for number, rater in enumerate(owners) if rater not in away]
        out = [number for number, rater in enumerate(owners) if rater in away]
        scorer = _fitted(directions[kept], weights[kept], flips[kept])
        found |= dict(zip(out, torch.sigmoid(directions[out] @ scorer).tolist(), strict=True))
    return found


def _direction(features: Tensor, judgement: Judgement) -> Tensor:
    """Return what a scorer's weights are multiplied with to give the log-odds of this judgement; the last one is the threshold of thumbs."""
    good = features[judgement.good] if judgement.good is not None else None
    bad = features[judgement.bad] if judgement.bad is not None else None
    if good is not None and bad is not None:
        return torch.cat([good - bad, features.new_zeros(1)])
    if good is not None:
        return torch.cat([good, features.new_ones(1)])
    if bad is None:
        raise AssertionError("a judgement is of a reply")
    return -torch.cat([bad, features.new_ones(1)])


def _fitted(directions: Tensor, weights: Tensor, flips: Tensor) -> Tensor:
    """Return the weights (D + 1,) that maximise the likelihood of the judgements under label noise, with a normal prior."""
    total = weights.sum().clamp(min=1e-9)
    if not len(weights) or float(weights.sum()) <= 0.0:
        return directions.new_zeros(directions.size(1))
    scorer = directions.new_zeros(directions.size(1)).requires_grad_()
    search = torch.optim.LBFGS([scorer], max_iter=25, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        search.zero_grad()
        logits = directions @ scorer
        likelihood = torch.logaddexp(torch.log1p(-flips) + F.logsigmoid(logits), flips.log() + F.logsigmoid(-logits))
        loss = -(weights * likelihood).sum() / total + 0.5 * RIDGE / len(weights) * (scorer**2).sum()
        loss.backward()
        return loss

    search.step(closure)  # type: ignore[no-untyped-call]
    return scorer.detach()


def _votes(judgements: Sequence[Judgement], fixed: Mapping[str, float]) -> dict[int, float]:
    """Return the chance that an honest person says so for judgements on what several raters judged: by Crowd-BT and Dawid-Skene."""
    pairs = [(number, j, (j.good, j.bad)) for number, j in enumerate(judgements) if j.good is not None and j.bad is not None]
    thumbs = [(number, j, j.good if j.good is not None else j.bad) for number, j in enumerate(judgements) if j.good is None or j.bad is None]
    found: dict[int, float] = {}
    asked = _raters_of([(frozenset(both), j.rater) for _, j, both in pairs])
    known: dict[Hashable, float] = dict(fixed.items())
    ranked = pair_raters([(j.rater, *both) for _, j, both in pairs], pinned=known)
    for number, _, (good, bad) in pairs:
        if asked[frozenset((good, bad))] > 1:
            lead = torch.tensor(ranked.scores[good] - ranked.scores[bad])
            found[number] = torch.sigmoid(lead).item()
    asked = _raters_of([(reply, j.rater) for _, j, reply in thumbs])
    both_rates: dict[Hashable, tuple[float, float]] = {name: (eta, eta) for name, eta in fixed.items()}
    sorted_out = thumb_raters([(j.rater, reply, j.good is not None) for _, j, reply in thumbs], pinned=both_rates)
    for number, j, reply in thumbs:
        if asked[reply] > 1:
            chance = sorted_out.good[reply]
            found[number] = chance if j.good is not None else 1.0 - chance
    return found


def _raters_of(said: Sequence[tuple[object, str]]) -> dict[object, int]:
    """Return by how many raters each item was judged."""
    who: dict[object, set[str]] = defaultdict(set)
    for item, rater in said:
        who[item].add(rater)
    return {item: len(raters) for item, raters in who.items()}


def _honesty(
    agreed: Mapping[int, float], judgements: Sequence[Judgement], fixed: Mapping[str, float], prior_mean: float, prior_strength: float
) -> dict[str, float]:
    """Expectation-maximisation of each rater's eta with the honest person's probabilities held."""
    by_rater: dict[str, list[float]] = defaultdict(list)
    for number, judgement in enumerate(judgements):
        by_rater[judgement.rater].append(min(max(agreed[number], 1e-3), 1.0 - 1e-3))
    found = {}
    for rater, chances in by_rater.items():
        p, eta = torch.tensor(chances, dtype=torch.float64), fixed.get(rater, prior_mean)
        for _ in range(0 if rater in fixed else EM_ROUNDS):
            meant = eta * p / (eta * p + (1.0 - eta) * (1.0 - p))
            eta = float((meant.sum() + prior_mean * prior_strength) / (len(p) + prior_strength))
        found[rater] = eta
    return found
