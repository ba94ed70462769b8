import random

import numpy as np
import pytest

from learner.algorithms.raters import pair_raters, thumb_raters


def comparisons_of(
    num_bad: int,
    num_raters: int = 40,
    num_completions: int = 60,
    per_rater: int = 40,
    seed: int = 0,
    noise: float = 0.0,
) -> tuple[list[tuple[str, int, int]], np.ndarray]:
    """Return (rater, better, worse) comparisons and the true quality of each completion.

    The first `num_bad` raters collude for the inverted ranking; the others slip with probability `noise`.
    """
    rng = np.random.default_rng(seed)
    quality = rng.normal(0, 1.5, num_completions)
    comparisons = []
    for k in range(num_raters):
        for _ in range(per_rater):
            i, j = rng.choice(num_completions, 2, replace=False).tolist()
            sees_i = (
                rng.random() < 1 / (1 + np.exp(quality[j] - quality[i])) if k >= num_bad else quality[i] < quality[j]
            )
            slips = k >= num_bad and rng.random() < noise
            comparisons.append((f"r{k}", i, j) if sees_i != slips else (f"r{k}", j, i))
    return comparisons, quality


def ranking_accuracy(scores: dict[int, float], quality: np.ndarray) -> float:
    return float(
        np.mean([(scores[i] > scores[j]) == (quality[i] > quality[j]) for i in scores for j in scores if i < j])
    )


def test_a_colluding_fifth_is_found_and_outvoted() -> None:
    comparisons, quality = comparisons_of(num_bad=8)
    found = pair_raters(comparisons)
    assert all(found.trust[f"r{k}"] < 0.5 for k in range(8))
    assert all(found.trust[f"r{k}"] > 0.5 for k in range(8, 40))
    trusting = pair_raters(comparisons, pinned={f"r{k}": 0.999 for k in range(40)})
    assert ranking_accuracy(found.scores, quality) > ranking_accuracy(trusting.scores, quality) + 0.05
    assert ranking_accuracy(found.scores, quality) > 0.88


def test_known_raters_hold_the_rest_against_a_large_minority() -> None:
    comparisons, quality = comparisons_of(num_bad=16, noise=0.2)
    assert ranking_accuracy(pair_raters(comparisons).scores, quality) < 0.5
    held = pair_raters(comparisons, pinned={f"r{k}": 0.95 for k in range(30, 40)})
    assert held.trust["r35"] == 0.95
    assert ranking_accuracy(held.scores, quality) > 0.85


def test_a_rater_with_little_feedback_keeps_the_prior() -> None:
    found = pair_raters([("a", "x", "y")])
    assert found.trust["a"] == pytest.approx(0.8, abs=0.03)
    assert found.scores["x"] == pytest.approx(-found.scores["y"])
    assert found.scores["x"] > 0
    sure = pair_raters([("a", "x", "y")], prior_mean=0.6, prior_strength=1e6)
    assert sure.trust["a"] == pytest.approx(0.6, abs=1e-4)
    assert pair_raters([]) == ({}, {})


def test_scores_maximize_the_posterior() -> None:
    # Two completions, one reliable rater, 3 comparisons one way and 1 the other: the score s solves
    # 3 - 4 sigmoid(2s) - 0.3 s = 0.
    found = pair_raters([("a", "x", "y")] * 3 + [("a", "y", "x")], pinned={"a": 1.0 - 1e-9})
    s = found.scores["x"]
    assert 3 - 4 / (1 + np.exp(-2 * s)) - 0.3 * s == pytest.approx(0.0, abs=1e-6)
    firm = pair_raters([("a", "x", "y")] * 3 + [("a", "y", "x")], pinned={"a": 1.0 - 1e-9}, score_precision=3.0)
    t = firm.scores["x"]
    assert 3 - 4 / (1 + np.exp(-2 * t)) - 3.0 * t == pytest.approx(0.0, abs=1e-6)


def test_trust_is_a_fixed_point_of_expectation_maximization() -> None:
    comparisons, _ = comparisons_of(num_bad=2, num_raters=6, num_completions=8, per_rater=12)
    found = pair_raters(comparisons, num_rounds=2000)
    for rater, eta in found.trust.items():
        is_right = []
        for who, i, j in comparisons:
            if who == rater:
                agreed = 1 / (1 + np.exp(found.scores[j] - found.scores[i]))
                is_right.append(eta * agreed / (eta * agreed + (1 - eta) * (1 - agreed)))
        assert eta == pytest.approx((sum(is_right) + 7.2) / (len(is_right) + 9), abs=1e-6)


def thumbs_of(num_bad: int, seed: int = 0) -> tuple[list[tuple[str, int, bool]], list[bool]]:
    """Return thumbs of 20 raters on 50 completions, and which completions are good.

    The first `num_bad` raters always rate up; the others err one time in ten.
    """
    rng = random.Random(seed)
    good = [rng.random() < 0.5 for _ in range(50)]
    ratings = []
    for k in range(20):
        for completion in rng.sample(range(50), 25):
            ratings.append((f"r{k}", completion, True if k < num_bad else good[completion] != (rng.random() < 0.1)))
    return ratings, good


def test_thumbs_of_a_rater_who_always_rates_up_carry_no_information() -> None:
    ratings, good = thumbs_of(num_bad=6)
    found = thumb_raters(ratings)
    for k in range(20):
        assert (found.correct_rejection[f"r{k}"] < 0.5) == (k < 6)
        assert found.hit_rate[f"r{k}"] > 0.7
    assert sum((found.good[completion] > 0.5) == good[completion] for completion in found.good) >= 0.96 * len(
        found.good
    )
    careful = [found.correct_rejection[f"r{k}"] for k in range(6, 20)]
    assert sum(careful) / len(careful) == pytest.approx(0.87, abs=0.05)


def test_thumb_rates_are_a_fixed_point_of_expectation_maximization() -> None:
    ratings, _ = thumbs_of(num_bad=2)
    found = thumb_raters(ratings, num_rounds=2000, good_share=0.4)
    for completion, good in found.good.items():
        odds = np.log(0.4 / 0.6)
        for who, which, up in ratings:
            if which == completion:
                hit, reject = found.hit_rate[who], found.correct_rejection[who]
                odds += np.log(hit / (1 - reject)) if up else np.log((1 - hit) / reject)
        assert good == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-6)
    for who, hit in found.hit_rate.items():
        mine = [(found.good[completion], up) for rater, completion, up in ratings if rater == who]
        assert hit == pytest.approx((sum(g for g, up in mine if up) + 7.2) / (sum(g for g, _ in mine) + 9), abs=1e-6)


def test_one_thumb_and_none() -> None:
    found = thumb_raters([("a", "x", True)])
    good = found.good["x"]  # with a prior of a half, 9 thumbs of prior with mean 0.8, and one thumb
    hit, reject = (good + 7.2) / (good + 9), 7.2 / (1 - good + 9)
    assert (found.hit_rate["a"], found.correct_rejection["a"]) == (pytest.approx(hit), pytest.approx(reject))
    assert good == pytest.approx(hit / (hit + 1 - reject))
    assert thumb_raters([]) == ({}, {}, {})


def test_known_thumbs_are_pinned() -> None:
    found = thumb_raters([("a", "x", False), ("b", "x", True)], pinned={"a": (1.0, 1.0)})
    assert (found.hit_rate["a"], found.correct_rejection["a"]) == (1.0, 1.0)
    assert found.good["x"] == pytest.approx(4e-6, rel=0.3)  # certainty is bounded at one in a million
    strong = thumb_raters([("a", "x", True)], prior_mean=0.6, prior_strength=1e6)
    assert strong.good["x"] == pytest.approx(0.6, abs=1e-4)


def test_thumbs_of_one_known_rater_decide_which_way_is_up_against_five_who_agree() -> None:
    good = [completion % 2 == 0 for completion in range(20)]
    ratings = [
        (rater, completion, is_good == (rater == "known"))
        for completion, is_good in enumerate(good)
        for rater in ("known", *"abcde")
    ]
    held = thumb_raters(ratings, pinned={"known": (0.95, 0.95)})
    assert [held.good[completion] > 0.5 for completion in range(20)] == good
    assert max(held.hit_rate[name] for name in "abcde") < 0.5
    assert [thumb_raters(ratings).good[completion] > 0.5 for completion in range(20)] != good  # without the known rater


@pytest.mark.parametrize(("rate", "good"), [(1.0, 1.0 - 1e-6), (0.0, 1e-6)])
def test_a_rater_pinned_as_always_right_or_wrong_is_bounded_at_a_millionth(rate: float, good: float) -> None:
    found = thumb_raters([("oracle", "x", True)], pinned={"oracle": (rate, rate)})
    assert found.good["x"] == pytest.approx(good, rel=1e-9 if rate else 1e-3, abs=1e-9)
