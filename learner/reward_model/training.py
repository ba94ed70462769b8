"""Fits a reward model: an ensemble of bootstrapped heads, each at the optimum of its own penalized likelihood."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from learner.algorithms.reward import RewardHeads, bias_prior_loss, bootstrap_weights
from learner.algorithms.statistics import MovingStatistics
from learner.data.examples import Example
from learner.errors import NothingToLearn
from learner.model.features import completion_features
from learner.model.resident import Resident
from learner.reward_model.frame import Frame
from learner.reward_model.label_losses import Labels, completions_of
from learner.reward_model.model import RewardModel
from learner.settings import RewardModelSettings

NUM_HEADS = 10  # their disagreement is the reward model's uncertainty
MAX_STEPS = 200  # of L-BFGS, over all heads together
TOLERANCE = 1e-4  # largest gradient at the optimum, in labels per prior deviation
FeaturesOf = Callable[[Sequence[tuple[tuple[int, ...], tuple[int, ...]]]], Tensor]


def trained_reward_model(
    resident: Resident, examples: Sequence[Example], settings: RewardModelSettings, *, seed: int, token_budget: int
) -> tuple[RewardModel, dict[str, float]]:
    """Return a reward model of these examples alone, and its training metrics.

    `token_budget` is the most tokens of one forward pass. Raises NothingToLearn for fewer than `min_labels` examples.
    """

    def features_of(completions: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> Tensor:
        return completion_features(resident, completions, token_budget)

    return fitted_reward_model(
        features_of, examples, min_labels=settings.min_labels, base_digest=resident.base_digest, seed=seed
    )


def fitted_reward_model(
    features_of: FeaturesOf,
    examples: Sequence[Example],
    *,
    min_labels: int,
    base_digest: str,
    seed: int,
    frame: Frame | None = None,
    start: RewardModel | None = None,
) -> tuple[RewardModel, dict[str, float]]:
    """Return the reward model of these examples, and its training metrics.

    The fit begins at the heads of `start`, in its frame. The optimum does not depend on where it begins, so an example
    that is gone leaves nothing behind. Without `start`, `frame` or the examples themselves give the frame. Raises
    NothingToLearn for fewer than `min_labels` examples.
    """
    if len(examples) < min_labels:
        raise NothingToLearn(
            f"a reward model needs {min_labels} labels, and there are {len(examples)}; "
            "collect more feedback, or lower reward_model.min_labels"
        )
    features = features_of(completions_of(examples))  # (R, D)
    if start is not None:
        frame, seed = start.frame, start.seed
    frame = frame or Frame.of(features)
    rows, labels = frame.rows(features).double(), Labels.of(examples)
    directions = labels.directions(rows)
    heads = RewardHeads(frame.deviation, NUM_HEADS, seed=seed).double()
    biases = torch.zeros(NUM_HEADS, len(labels.raters), dtype=torch.float64)
    if start is not None:
        with torch.no_grad():
            heads.weight.copy_(start.heads.weight)
        biases = torch.tensor([start.biases.get(rater, 0.0) for rater in labels.raters]).double().expand_as(biases)
    resampled = bootstrap_weights(NUM_HEADS, torch.tensor([example.seq for example in examples]), seed=seed).double()
    loss, steps, biases = fit(heads, labels, directions, resampled, biases)
    with torch.no_grad():
        scores = heads(rows)
    model = RewardModel(
        heads.float(),
        frame,
        slope=frame.slope_of_pairs(directions[[pair.example for pair in labels.pairs]]).float(),
        lengths=(float(rows[:, -1].min()), float(rows[:, -1].max())),
        # The spread over heads counts too: with few labels the unit stays that of the prior.
        statistics=MovingStatistics().updated(scores.mean().item(), scores.var(unbiased=False).item()),
        biases=dict(zip(labels.raters, biases.mean(0).tolist(), strict=True)),
        base_digest=base_digest,
        seed=seed,
    )
    return model, {
        "reward/loss": loss,
        "reward/labels": float(len(examples)),
        "reward/fit_steps": float(steps),
        "reward/spread": model.statistics.std(floor=0.0),
    }


def fit(
    heads: RewardHeads, labels: Labels, directions: Tensor, resampled: Tensor, biases: Tensor
) -> tuple[float, int, Tensor]:
    """Move the heads to their optimum; return the loss per label and head, the steps of L-BFGS, and biases (E, K).

    Each head minimizes the sum over its resampled labels (`resampled` (E, N), times the example weights) of minus the
    log-probability of the label, plus the prior: a Bradley-Terry model of pairs, a logistic one of thumbs, with a ridge
    to the head's own draw. All in float64. `directions` is (N, D); `biases` (E, K) is where the raters' thresholds
    begin.
    """
    weights = resampled * labels.example_weights.to(resampled)
    # In units of the prior's deviations the prior is round, which L-BFGS needs fewer steps for.
    moved = ((heads.weight.detach() - heads.initial) / heads.deviation).requires_grad_()
    thresholds = biases.clone().requires_grad_()
    scaled = directions * heads.deviation
    fixed = heads.initial @ directions.T
    search = torch.optim.LBFGS(
        [moved, thresholds],
        max_iter=MAX_STEPS,
        tolerance_grad=TOLERANCE,
        tolerance_change=1e-12,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        likelihood = (labels.losses(fixed + moved @ scaled.T, thresholds) * weights).sum()
        return likelihood + 0.5 * (moved**2).sum() + bias_prior_loss(thresholds).sum()

    def closure() -> Tensor:
        search.zero_grad()
        loss = objective()
        loss.backward()
        return loss

    search.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        loss = float(objective()) / (len(heads.weight) * max(float(labels.example_weights.sum()), 1e-9))
        heads.weight.copy_(heads.initial + moved * heads.deviation)
    steps = int(search.state[search._params[0]]["n_iter"])
    return loss, steps, thresholds.detach()
