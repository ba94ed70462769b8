import pytest

from learner.algorithms.example_weights import (
    KIND_WEIGHTS,
    capped_by_rater,
    capped_by_side,
    freshness,
    reliability,
    repetition,
)


def test_kinds() -> None:
    assert KIND_WEIGHTS == {"correction": 1.5, "pair": 1.0, "thumb": 0.7, "implicit": 0.2}


def test_reliability_and_freshness() -> None:
    assert [reliability(x) for x in (0.0, 0.1, 0.5, 0.7)] == pytest.approx([1.0, 0.64, 0.0, 0.0])
    assert [freshness(x) for x in (0, 8, 16)] == [1.0, 0.5, 0.25]
    assert freshness(3, half_life=3.0) == 0.5


def test_repetition_counts_less_each_time() -> None:
    assert repetition(["a", "b", "a", "a", "a"]) == pytest.approx([0.5, 1.0, 0.5, 0.5, 0.5])
    assert repetition([]) == []


def share(weights: list[float], raters: list[str], who: str) -> float:
    return sum(w for w, r in zip(weights, raters, strict=True) if r == who) / sum(weights)


@pytest.mark.parametrize("cap", [0.1, 0.2])
def test_nobody_holds_more_than_the_cap(cap: float) -> None:
    raters = ["loud"] * 60 + ["also"] * 20 + [f"r{i}" for i in range(25)]
    capped = capped_by_rater([1.0] * len(raters), raters, cap=cap)
    assert share(capped, raters, "loud") == pytest.approx(cap)
    assert all(share(capped, raters, who) <= cap + 1e-12 for who in set(raters))
    assert capped[80:] == [1.0] * 25
    if cap == 0.1:
        assert share(capped, raters, "also") == pytest.approx(cap)
    assert capped_by_rater([1.0] * len(raters), raters) == capped_by_rater([1.0] * len(raters), raters, cap=0.1)


def test_few_raters_may_hold_twice_an_equal_share() -> None:
    raters = ["loud"] * 20 + ["a", "b", "c", "d"]
    capped = capped_by_rater([0.5] * 24, raters)
    assert share(capped, raters, "loud") == pytest.approx(2 / 5)
    assert capped[20:] == [0.5] * 4
    assert capped_by_rater([1.0, 2.0, 3.0], ["a", "a", "b"]) == [1.0, 2.0, 3.0]
    assert capped_by_rater([1.0, 1.0, 1.0], ["a", "b", "c"]) == [1.0, 1.0, 1.0]
    assert capped_by_rater([], []) == []


def test_raters_without_weight_get_none() -> None:
    assert capped_by_rater([0.0, 1.0, 1.0, 1.0], ["a", "b", "c", "d"]) == [0.0, 1.0, 1.0, 1.0]
    assert capped_by_rater([0.0] * 4, list("abcd")) == [0.0] * 4
    trusted = [str(i) for i in range(9)]  # nine hold a ninth each, however many others have no weight
    assert capped_by_rater([1.0] * 9 + [0.0] * 20, trusted + ["x"] * 10 + ["y"] * 10)[:9] == [1.0] * 9
    assert capped_by_rater([1.0] * 9 + [0.0] * 11, [str(i) for i in range(20)])[:9] == [1.0] * 9


def test_an_even_crowd_is_not_capped() -> None:
    assert capped_by_rater([1.0] * 30, [str(i) for i in range(30)]) == [1.0] * 30


def test_one_side_weighs_at_most_three_times_the_other() -> None:
    assert capped_by_side([1.0] * 7, [True] * 6 + [False]) == pytest.approx([0.5] * 6 + [1.0])
    assert capped_by_side([1.0] * 7, [False] * 6 + [True]) == pytest.approx([0.5] * 6 + [1.0])
    assert capped_by_side([1.0] * 4, [True] * 3 + [False]) == [1.0] * 4
    assert capped_by_side([1.0] * 5, [True] * 4 + [False], ratio=2.0) == pytest.approx([0.5] * 4 + [1.0])
    assert capped_by_side([1.0] * 4, [True] * 4) == [1.0] * 4
    assert capped_by_side([1.0] * 4, [False] * 4) == [1.0] * 4


def test_a_rater_just_over_the_cap_is_cut_to_it() -> None:
    capped = capped_by_rater(
        [2.335, *[1.0] * 9], range(10)
    )  # not to 2.267, a fifth of 11.335: the weight that is cut counts for nobody
    assert capped == pytest.approx([2.25, *[1.0] * 9])


def test_cutting_ends_where_a_share_meets_its_limit_but_for_rounding() -> None:
    # A third each for the first three. 1 - 2 * (1 / 3) is not 1 / 3 in floating point; the rest is tiny beside them.
    assert capped_by_rater([4.0, 2.0, 1.0, 1e-20, 1e-20, 1e-20], range(6)) == pytest.approx(
        [1.0, 1.0, 1.0, 1e-20, 1e-20, 1e-20]
    )
