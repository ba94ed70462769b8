"""The reward model: losses on pairs and thumbs, an ensemble of heads with its uncertainty, and its calibration."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learner.algorithms.precision import plain_floats, working
from learner.algorithms.statistics import MovingStatistics


class RewardHeads(nn.Module):
    """E linear heads on features of a completion; their disagreement is the uncertainty.

    Each head is held to its own draw from the prior (a prior network, Osband et al. 1806.03335), so heads agree only
    where data makes them. The draws come in pairs of opposite sign: where there is no data their mean is 0.
    """

    initial: Tensor
    deviation: Tensor

    def __init__(self, deviation: Tensor, num_heads: int = 10, *, seed: int = 0) -> None:
        """`deviation` (d,) is the prior standard deviation of each weight. Raises ValueError for odd `num_heads`."""
        if num_heads % 2:
            raise ValueError(f"heads come in pairs, and {num_heads} is odd")
        super().__init__()
        half = torch.randn(num_heads // 2, len(deviation), generator=torch.Generator().manual_seed(seed))
        drawn = torch.cat([half, -half]) * deviation
        self.weight = nn.Parameter(drawn.clone())
        self.register_buffer("initial", drawn)
        self.register_buffer("deviation", deviation.clone())

    def forward(self, states: Tensor) -> Tensor:
        """Return scores (E, B) of features (B, d). Only differences between completions have a meaning."""
        return self.weight @ states.to(self.weight.dtype).transpose(-1, -2)

    def prior_loss(self) -> Tensor:
        """Return `1/2 sum ((w - w_initial) / deviation)^2`, (): data outweighs the prior as it grows."""
        return 0.5 * (((self.weight - self.initial) / self.deviation) ** 2).sum()


def bootstrap_weights(num_heads: int, example_numbers: Tensor, *, seed: int = 0) -> Tensor:
    """Return (E, B) Poisson(1) weights, so that each head trains on its own resample.

    `example_numbers` (B,) long are the examples' lasting numbers: an example has the same weights in every update.
    """
    columns = []
    for number in example_numbers.tolist():
        generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
        columns.append(torch.poisson(torch.ones(num_heads), generator=generator))
    return torch.stack(columns, 1) if columns else torch.zeros(num_heads, 0)


def _log_noisy_sigmoid(logits: Tensor, flip_rate: float | Tensor) -> Tensor:
    """Return `log[(1 - 2 eps) sigmoid(x) + eps]`: the log-probability of a label that is flipped at rate eps.

    It is flat far below 0 if eps > 0.
    """
    rate = torch.as_tensor(flip_rate, dtype=logits.dtype, device=logits.device)
    return torch.logaddexp(torch.log1p(-2.0 * rate) + F.logsigmoid(logits), rate.log())


def bradley_terry_loss(
    chosen: Tensor,
    rejected: Tensor,
    *,
    margin: float | Tensor = 0.0,
    flip_rate: float | Tensor = 0.0,
    is_tie: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Return `-log P(label)` per pair under Bradley-Terry with rater noise, (B,) or (E, B), and means.

    `chosen` and `rejected` are scores of equal shape. `margin` (B,) is the lead that the better completion should have.
    `flip_rate` in [0, 0.5) is the rater's rate of error (Chen et al. WSDM 2013). `is_tie` (B,) bool marks completions
    found equally good: a half label each way and no margin.
    """
    ahead = working(chosen) - working(rejected)
    values = -_log_noisy_sigmoid(ahead - margin, flip_rate)
    if is_tie is not None:
        values = torch.where(is_tie, -0.5 * (F.logsigmoid(ahead) + F.logsigmoid(-ahead)), values)
    if not values.numel():
        return values, {}
    return values, plain_floats({"reward/margin": ahead.mean(), "reward/accuracy": (ahead > 0).double().mean()})


def thumb_loss(
    scores: Tensor, up: Tensor, rater_bias: Tensor, *, flip_rate: float | Tensor = 0.0
) -> tuple[Tensor, dict[str, float]]:
    """Return `-log P(thumb)` per completion, (B,) or (E, B), under rater noise, and the batch accuracy.

    P(up) = sigmoid(score - bias). `rater_bias` (B,) is the threshold of each example's rater: a thumb up of a rater who
    always gives one carries little. `up` is (B,) bool.
    """
    ahead = working(scores) - working(rater_bias)
    values = -_log_noisy_sigmoid(torch.where(up, ahead, -ahead), flip_rate)
    if not values.numel():
        return values, {}
    return values, plain_floats({"reward/thumb_accuracy": ((ahead > 0) == up).double().mean()})


def bias_prior_loss(rater_bias: Tensor) -> Tensor:
    """Return `b^2 / 2` per rater, (K,): the negative log of a standard normal prior, up to a constant."""
    return 0.5 * working(rater_bias) ** 2


def correction_margin(num_changed: Tensor, lengths: Tensor) -> Tensor:
    """Return the lead that a corrected completion should have over the original, (B,).

    It is half the share of its tokens that changed, at most 0.5.
    """
    return 0.5 * (working(num_changed) / working(lengths).clamp(min=1.0)).clamp(max=1.0)


def lower_confidence_bound(
    scores: Tensor, statistics: MovingStatistics, *, pessimism: float = 1.0, limit: float = 5.0
) -> Tensor:
    """Return the rewards that a policy may be trained on, (B,): the heads' mean less their uncertainty.

    The mean of `scores` (E, B) is scaled by the `statistics` of earlier means and clipped to +-`limit`. `pessimism`
    times the heads' deviation, in the same scaled units, is subtracted: where heads disagree there is no reward to
    find.
    """
    score = working(scores.detach())
    scale = statistics.std()
    spread = score.std(0, unbiased=False) / scale
    return ((score.mean(0) - statistics.mean) / scale).clamp(-limit, limit) - pessimism * spread


def area_under_curve(scores: Tensor, labels: Tensor) -> float:
    """Return the probability that a positive scores above a negative, ties counting half.

    `scores` (N,), `labels` (N,) bool. NaN if one side is missing.
    """
    positive, negative = scores[labels.bool()], scores[~labels.bool()]
    ordered = negative.sort().values
    below = torch.searchsorted(ordered, positive, side="left").double()
    not_above = torch.searchsorted(ordered, positive, side="right").double()
    return float((0.5 * (below + not_above)).mean() / negative.numel())  # 0 / 0, which is NaN, if a side is missing


def expected_calibration_error(probabilities: Tensor, labels: Tensor, *, num_bins: int = 10) -> float:
    """Return the mean distance of a bin's mean probability from its share of positives.

    Guo et al. 1706.04599, eq. 3. `probabilities` (N,) in [0, 1], `labels` (N,) bool, bins of equal width. NaN for N =
    0.
    """
    if not probabilities.numel():
        return float("nan")
    p, positive = probabilities.double(), labels.double()
    bins = (p * num_bins).long().clamp(max=num_bins - 1)
    gaps = torch.zeros(num_bins, dtype=torch.float64, device=p.device).index_add(0, bins, p - positive)
    return float(gaps.abs().sum() / p.numel())
