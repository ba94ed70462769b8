"""How far each rater can be believed, estimated from how their word fits what the others say.

People seldom judge the same two replies, so who agrees with whom is seen through a scorer: a linear model on the base
model's frozen features,
fitted to what the *other* raters said of *other* replies. Where several others judged the very same reply, their votes
speak beside the scorer, as
far as they are believed; nobody votes on themselves, and two do not vouch for each other, since they may be one person.
A rater's honesty is then
the eta of Crowd-BT (Chen et al. WSDM 2013): P(k says so) = eta P(an honest person says so) + (1 - eta) P(says the
opposite), by
expectation-maximisation under a prior for honesty.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import torch
import torch.nn.functional as F
from torch import Tensor

from learner.algorithms.example_weights import capped_by_rater
from learner.algorithms.raters import pair_raters, thumb_raters
from learner.data.examples import Example
from learner.model.features import completion_features
from learner.model.resident import Resident
from learner.settings import LearnerSettings

TRUST_PRIOR = 0.8  # chance that a rater of whom little is known is right
TRUST_STRENGTH = 9.0  # how many feedback rows that chance is worth
MIN_RATERS = 3  # two who disagree do not tell which of them is right
FOLDS = 5
ROUNDS = 4  # of fitting the scorer and estimating honesty, each with the other's last word
EM_ROUNDS = 30
RIDGE = 4.0  # prior precision of the scorer's weights, against one judgement
MIN_VOTES = 2  # of others on the same reply: one may be the same person's second account
GOLD = 0.95  # chance that a gold rater is right
Ids = tuple[int, ...]


@dataclass(frozen=True)
class Judgement:
    """One word of one rater: `good` over `bad` by row of the features; a thumb has one of the two."""

    rater: str
    good: int | None
    bad: int | None

    @property
    def judged(self) -> frozenset[int]:
        """The one or two rows that it is about."""
        return frozenset(row for row in (self.good, self.bad) if row is not None)


class TrustEstimator:
    """Estimates raters' honesty; remembers features by content, since most replies come again with every update."""

    def __init__(self, resident: Resident, settings: LearnerSettings) -> None:
        self._resident, self._settings = resident, settings
        self._known: dict[str, Tensor] = {}

    def trust(self, examples: Sequence[Example]) -> dict[str, float]:
        """Return each rater's chance in (0, 1) to be right, from the newest `trust_items` of these examples; {} with
        too few raters to tell.
        """
        settings = self._settings
        said = [example for example in examples if not example.is_implicit]
        newest = (
            sorted(said, key=lambda example: example.seq)[-settings.trust.feedback :] if settings.trust.feedback else []
        )
        if len({example.rater_id for example in newest}) < MIN_RATERS:
            return {}
        replies = list(
            dict.fromkeys((example.prompt_ids, reply.ids) for example in newest for reply in example.completions)
        )
        place = {reply: number for number, reply in enumerate(replies)}
        judgements = [
            Judgement(
                example.rater_id,
                place[example.prompt_ids, example.good.ids] if example.good is not None else None,
                place[example.prompt_ids, example.bad.ids] if example.bad is not None else None,
            )
            for example in newest
        ]
        return trust_of_raters(
            self._features(replies),
            judgements,
            pinned=gold_of(settings),
            prior_mean=TRUST_PRIOR,
            prior_strength=TRUST_STRENGTH,
        )

    def _features(self, replies: Sequence[tuple[Ids, Ids]]) -> Tensor:
        """Return (R, D): the reward model's features and the reply's log length."""
        keys = [sha256(repr(reply).encode()).hexdigest() for reply in replies]
        new = [number for number, key in enumerate(keys) if key not in self._known]
        found = completion_features(self._resident, [replies[number] for number in new], self._settings.token_budget)
        for number, row in zip(new, found, strict=True):
            self._known[keys[number]] = torch.cat([row, torch.tensor([float(len(replies[number][1]))]).log1p()])
        features = torch.stack([self._known[key] for key in keys])
        self._known = {key: self._known[key] for key in keys}  # what was not asked for is not remembered
        return features


def gold_of(settings: LearnerSettings) -> dict[str, float]:
    """Return how far the raters that the operator vouches for are believed."""
    return {name.strip(): GOLD for name in settings.trust.gold_raters.split(",") if name.strip()}


def believed_of(
    examples: Sequence[Example], estimates: Mapping[str, float], stored: Mapping[str, float], settings: LearnerSettings
) -> dict[str, float]:
    """Return by rater of these examples the chance that they are right: the new estimate, else the last one kept, else
    the prior.

    Older items come back by replay when the newest judgements hold no word of their rater; {} while nobody was ever
    estimated.
    """
    if not settings.trust.feedback or not (estimates or stored):
        return {}
    raters, stored = dict.fromkeys(example.rater_id for example in examples), {**stored, **gold_of(settings)}
    return {rater: estimates.get(rater, stored.get(rater, TRUST_PRIOR)) for rater in raters}


def trust_of_raters(
    features: Tensor,
    judgements: Sequence[Judgement],
    *,
    pinned: Mapping[str, float] | None = None,
    prior_mean: float = 0.8,
    prior_strength: float = 9.0,
) -> dict[str, float]:
    """Return eta by rater from judgements on replies with these features (R, D); `pinned` fixes that of known raters.

    The prior is worth `prior_strength` judgements with mean `prior_mean`. It finds a dishonest minority; where most are
    dishonest, pin some.
    """
    fixed = dict(pinned or {})
    raters = list(dict.fromkeys(judgement.rater for judgement in judgements))
    # With known raters the rest start at a half, which says nothing: the first scorer is the known raters' own.
    start = 0.5 if any(rater in fixed for rater in raters) else prior_mean
    honesty = {rater: fixed.get(rater, start) for rater in raters}
    scaled = _scaled(features)
    believed = {rater: fixed.get(rater, 0.5) for rater in raters}
    for last in (*[False] * ROUNDS, True):
        if last:  # votes count by what the scorer made of the voters, and once: a group that speaks with one voice would raise itself
            believed = honesty
        agreed = _agreement(scaled, judgements, honesty, believed, fixed)
        honesty = _honesty(agreed, judgements, fixed, prior_mean, prior_strength)
    return honesty


def _scaled(features: Tensor) -> Tensor:
    """Return features of mean 0 whose rows have norm of about 2, so that a unit weight vector moves a score by some
    units.
    """
    centred = features.double() - features.double().mean(0)
    spread = centred.std(0)
    return (
        torch.where(spread > 1e-9, centred / spread.clamp(min=1e-9), torch.zeros_like(centred))
        * 2.0
        / features.size(1) ** 0.5
    )


def _agreement(
    features: Tensor,
    judgements: Sequence[Judgement],
    honesty: Mapping[str, float],
    believed: Mapping[str, float],
    fixed: Mapping[str, float],
) -> dict[int, float]:
    """Return for each judgement of a rater to be estimated the chance that an honest person says so, by what others
    said (scorer and votes).
    """
    directions = torch.stack([_direction(features, judgement) for judgement in judgements])  # (J, D + 1)
    owners = [judgement.rater for judgement in judgements]
    reliability = torch.tensor([(2.0 * max(honesty[rater], 0.5) - 1.0) ** 2 for rater in owners], dtype=torch.float64)
    weights = torch.tensor(capped_by_rater(reliability.tolist(), owners), dtype=torch.float64)
    flips = torch.tensor([min(max(1.0 - honesty[rater], 0.01), 0.49) for rater in owners], dtype=torch.float64)
    found: dict[int, float] = {}
    unknown = [
        rater for rater in honesty if rater not in fixed
    ]  # the others are asked of everybody, and need no estimate
    folds = min(FOLDS, len(unknown))
    order = sorted(unknown, key=lambda rater: sha256(rater.encode()).hexdigest())
    for fold in range(folds):
        away = set(order[fold::folds])
        kept = [number for number, rater in enumerate(owners) if rater not in away]
        out = [number for number, rater in enumerate(owners) if rater in away]
        # What others said of the same replies is left to their votes: a second account would teach the scorer what the
        # first one says.
        same = frozenset(row for number in out for row in judgements[number].judged)
        apart = [number for number in kept if owners[number] in fixed or same.isdisjoint(judgements[number].judged)]
        scorer = _fitted(directions[apart], weights[apart], flips[apart])
        votes = _votes([judgements[number] for number in kept], [judgements[number] for number in out], believed, fixed)
        found |= dict(zip(out, torch.sigmoid(directions[out] @ scorer + votes).tolist(), strict=True))
    return found


def _direction(features: Tensor, judgement: Judgement) -> Tensor:
    """Return what a scorer's weights are multiplied with to give the log-odds of this judgement; the last one is the
    threshold of thumbs.
    """
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
    """Return the weights (D + 1,) that maximise the likelihood of the judgements under label noise, with a normal
    prior.
    """
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


def _votes(
    kept: Sequence[Judgement], out: Sequence[Judgement], believed: Mapping[str, float], fixed: Mapping[str, float]
) -> Tensor:
    """Return (len(out),) log-odds that an honest person says so by the votes in `kept`, 0 where too few voted: by
    Crowd-BT and Dawid-Skene.

    How far voters are believed is given, not found from the votes, or a group that speaks with one voice would vouch
    for itself.
    """
    known: dict[Hashable, float] = {rater: max(eta, 0.5) for rater, eta in believed.items()}
    both_rates: dict[Hashable, tuple[float, float]] = {rater: (eta, eta) for rater, eta in known.items()}
    who: dict[frozenset[int], set[str]] = defaultdict(set)
    for judgement in kept:
        who[judgement.judged].add(judgement.rater)
    heard = {
        judged for judged, voters in who.items() if len(voters) >= MIN_VOTES or any(voter in fixed for voter in voters)
    }
    found = torch.zeros(len(out), dtype=torch.float64)
    if heard.isdisjoint(judgement.judged for judgement in out):
        return found
    scores = pair_raters([(j.rater, j.good, j.bad) for j in kept if len(j.judged) == 2], pinned=known).scores
    good = thumb_raters(
        [(j.rater, j.judged, j.good is not None) for j in kept if len(j.judged) == 1], pinned=both_rates
    ).good
    for number, judgement in enumerate(out):
        if judgement.judged not in heard:
            continue
        if len(judgement.judged) == 2:
            found[number] = scores[judgement.good] - scores[judgement.bad]
        else:
            chance = min(max(good[judgement.judged], 1e-6), 1.0 - 1e-6)
            found[number] = (math.log(chance) - math.log1p(-chance)) * (1.0 if judgement.good is not None else -1.0)
    return found


def _honesty(
    agreed: Mapping[int, float],
    judgements: Sequence[Judgement],
    fixed: Mapping[str, float],
    prior_mean: float,
    prior_strength: float,
) -> dict[str, float]:
    """Expectation-maximisation of each rater's eta with the honest person's probabilities held."""
    by_rater: dict[str, list[float]] = defaultdict(list)
    for number, chance in agreed.items():
        by_rater[judgements[number].rater].append(min(max(chance, 1e-3), 1.0 - 1e-3))
    found = {judgement.rater: fixed[judgement.rater] for judgement in judgements if judgement.rater in fixed}
    for rater, chances in by_rater.items():
        p, eta = torch.tensor(chances, dtype=torch.float64), prior_mean
        for _ in range(EM_ROUNDS):
            meant = eta * p / (eta * p + (1.0 - eta) * (1.0 - p))
            eta = float((meant.sum() + prior_mean * prior_strength) / (len(p) + prior_strength))
        found[rater] = eta
    return found
