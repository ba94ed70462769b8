"""The numbers of a simulation, on data with known results."""

import numpy as np
import pytest

import attune
from clients.simulated.measurement import bootstrap_interval, items_behind, spread, win_table


def test_every_sample_meets_every_other_and_ties_count_half() -> None:
    mine = np.array([[[1.0], [3.0]]])  # one question, two samples, one taste
    base = np.array([[[2.0], [3.0]]])
    assert win_table(mine, base).tolist() == [(0 + 0 + 1 + 0.5) / 4]
    assert win_table(mine, mine).tolist() == [0.5]


def test_tastes_count_alike() -> None:
    mine, base = np.array([[[1.0, 0.0]]]), np.array([[[0.0, 1.0]]])
    assert win_table(mine, base).tolist() == [0.5]


def test_the_interval_covers_the_truth_as_often_as_it_should() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        low, high = bootstrap_interval(rng.beta(3, 2, size=64))
        covered += low <= 0.6 <= high
    assert 0.90 <= covered / 300 <= 0.985


def test_an_interval_holds_its_mean_and_narrows_with_more_questions() -> None:
    rng = np.random.default_rng(2)
    few, many = rng.random(32), rng.random(512)
    for values in (few, many):
        low, high = bootstrap_interval(values)
        assert low < values.mean() < high
    assert np.diff(bootstrap_interval(many))[0] < np.diff(bootstrap_interval(few))[0] / 2


@pytest.mark.parametrize(
    ("numbers", "most", "chosen"), [([3, 0, 1], 5, [0, 1, 3]), (range(20), 4, [0, 6, 13, 19]), ([0], 1, [0])]
)
def test_versions_are_spread_from_the_first_to_the_last(numbers: list[int], most: int, chosen: list[int]) -> None:
    assert spread(list(numbers), most) == chosen


def test_the_feedback_behind_a_version_is_its_ancestors_too() -> None:
    rows = [
        attune.Version(0),
        attune.Version(1, parent=0, items=16),
        attune.Version(2, parent=1, items=9),
        attune.Version(3, parent=1, items=5),
    ]
    known = {row.version: row for row in rows}
    assert [items_behind(known, number) for number in range(4)] == [0, 16, 25, 21]
