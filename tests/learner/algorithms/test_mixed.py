import pytest
import torch

from learner.algorithms.dpo import PairKind, PairLengths, PairLogps, pair_loss
from learner.algorithms.kto import apo_zero_unpaired_loss, kto_loss
from learner.algorithms.mixed import Corrections, MixedSettings, Pairs, Thumbs, Totals, mixed_loss, totals_of
from learner.algorithms.sft import change_of

POLICY = PairLogps(torch.tensor([-5.0, -7.0]), torch.tensor([-6.0, -2.0]))
REFERENCE = PairLogps(torch.tensor([-5.5, -6.0]), torch.tensor([-7.0, -2.5]))
LENGTHS = PairLengths(torch.tensor([3, 5]), torch.tensor([4, 2]))
PAIRS = Pairs(POLICY, REFERENCE, LENGTHS, torch.tensor([0.0, 0.2]), torch.tensor([1.0, 0.5]))
UP = torch.tensor([True, False])
THUMBS = Thumbs(POLICY.chosen, REFERENCE.chosen, LENGTHS.chosen, UP, torch.tensor([0.7, 0.4]))
CORRECTIONS = Corrections(
    POLICY, REFERENCE, LENGTHS, torch.tensor([1.5, 0.5]), torch.tensor([2, 16]), torch.tensor([1.5, 3.0])
)
KL = torch.tensor([0.1, 0.3, 0.2])
NLL = torch.tensor([5 / 3, 7 / 5])
BARE = MixedSettings(nll=0.0, anchor=0.0)


def total(values: torch.Tensor, weights: list[float]) -> float:
    return (values * torch.tensor(weights)).sum().item()


def test_pairs_alone_are_conservative_dpo() -> None:
    loss, metrics = mixed_loss(Totals(1.5, 1.5, 0.0), BARE, pairs=PAIRS)
    expected, seen = pair_loss("sigmoid", POLICY, REFERENCE, LENGTHS, beta=0.1, flip_rate=PAIRS.flip_rate)
    assert loss.item() == pytest.approx(total(expected, [1.0, 0.5]) / 1.5)
    assert metrics.items() >= seen.items()
    assert metrics["loss/pair"] == pytest.approx(loss.item())


@pytest.mark.parametrize(
    ("kind", "own", "other"),
    [("simpo", "gamma", 0.4), ("dpop", "penalty", 9.0), ("length_regularized", "length_alpha", 0.2)],
)
def test_losses_on_pairs_have_their_own_factors(kind: PairKind, own: str, other: float) -> None:
    for more in ({}, {own: other}):  # without one, the default is that of `pair_loss`
        settings = MixedSettings(pair_kind=kind, nll=0.0, correction_nll=0.0, correction_full_tokens=1.0, **more)
        loss, _ = mixed_loss(Totals(1.5, 1.5, 0.0), settings, pairs=PAIRS)
        expected, _ = pair_loss(kind, POLICY, REFERENCE, LENGTHS, beta=0.1, flip_rate=PAIRS.flip_rate, **more)
        assert loss.item() == pytest.approx(total(expected, [1.0, 0.5]) / 1.5)
        loss, _ = mixed_loss(Totals(4.5, 4.5, 0.0), settings, corrections=CORRECTIONS)
        expected, _ = pair_loss(kind, POLICY, REFERENCE, LENGTHS, beta=0.1, flip_rate=0.02, **more)
        assert loss.item() == pytest.approx(total(expected, [1.5, 3.0]) / 4.5)


def test_thumbs_alone_are_kto_twice() -> None:
    loss, metrics = mixed_loss(Totals(1.1, 0.7, 0.0), BARE, thumbs=THUMBS, z0=0.3)
    expected, seen = kto_loss(THUMBS.logps, THUMBS.reference_logps, UP, 0.3, beta=0.1)
    assert loss.item() == pytest.approx(2 * total(expected, [0.7, 0.4]) / 1.1)
    assert metrics.items() >= seen.items()
    assert (
        mixed_loss(Totals(1.1, 0.7, 0.0), BARE, thumbs=THUMBS)[0]
        == mixed_loss(Totals(1.1, 0.7, 0.0), BARE, thumbs=THUMBS, z0=0.0)[0]
    )


def test_thumbs_by_the_other_loss_and_other_sides() -> None:
    settings = MixedSettings(
        nll=0.0, thumb_kind="apo_zero_unpaired", up_weight=1.5, down_weight=0.5, beta=0.4, thumb_scale=1.0
    )
    loss, _ = mixed_loss(Totals(1.1, 0.7, 0.0), settings, thumbs=THUMBS, z0=0.3)
    expected, _ = apo_zero_unpaired_loss(
        THUMBS.logps, THUMBS.reference_logps, UP, beta=0.4, up_weight=1.5, down_weight=0.5
    )
    assert loss.item() == pytest.approx(total(expected, [0.7, 0.4]) / 1.1)


def test_corrections_alone() -> None:
    loss, metrics = mixed_loss(Totals(4.5, 4.5, 0.0), BARE, corrections=CORRECTIONS)
    pair, seen = pair_loss("sigmoid", POLICY, REFERENCE, LENGTHS, beta=0.1, flip_rate=0.02)
    # two changed tokens are a quarter of the eight of a full pair; sixteen count no more than one
    expected = total(pair, [1.5 / 4, 3.0]) / 4.5 + total(CORRECTIONS.changed_nll, [1.5, 3.0]) / 4.5
    assert loss.item() == pytest.approx(expected)
    assert metrics["correction/margin"] == pytest.approx(seen["pair/margin"])
    half, _ = mixed_loss(Totals(4.5, 4.5, 0.0), MixedSettings(nll=0.0, correction_nll=0.5), corrections=CORRECTIONS)
    assert loss.item() - half.item() == pytest.approx(0.5 * total(CORRECTIONS.changed_nll, [1.5, 3.0]) / 4.5)


def test_likelihood_of_chosen_up_and_corrected_completions() -> None:
    totals = Totals(7.1, 6.7, 3.0)
    with_nll, metrics = mixed_loss(
        totals, MixedSettings(), pairs=PAIRS, thumbs=THUMBS, corrections=CORRECTIONS, anchor_kl=KL
    )
    without, _ = mixed_loss(
        totals, MixedSettings(nll=0.0), pairs=PAIRS, thumbs=THUMBS, corrections=CORRECTIONS, anchor_kl=KL
    )
    expected = (total(NLL, [1.0, 0.5]) + total(NLL, [0.7, 0.0]) + total(NLL, [1.5, 3.0])) / 6.7
    assert with_nll.item() - without.item() == pytest.approx(expected, rel=1e-5)
    assert metrics["loss/nll"] == pytest.approx(expected)


def test_the_anchor_is_a_mean_over_its_tokens() -> None:
    loss, _ = mixed_loss(Totals(0.0, 0.0, 6.0), MixedSettings(), anchor_kl=KL)
    assert loss.item() == pytest.approx(0.2 * 0.6 / 6)


def test_totals_of_an_update() -> None:
    assert totals_of([1.0, 0.5], [(0.7, True), (0.4, False)], [1.5, 3.0], 12) == pytest.approx((7.1, 6.7, 12.0))


def test_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no term"):
        mixed_loss(Totals(1.0, 1.0, 1.0), MixedSettings())


def test_unchanged_tokens_have_the_same_default_weight_in_both_files() -> None:
    weights = change_of((1, 2, 3), (1, 9, 3)).weights
    assert weights == [MixedSettings().correction_unchanged_weight, 1.0, MixedSettings().correction_unchanged_weight]
