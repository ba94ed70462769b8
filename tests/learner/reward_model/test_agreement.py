"""Raters who agree with the others gain trust, and raters who work against them lose it."""

import pytest
import torch

from learner.reward_model.agreement import trust_of_raters
from learner.reward_model.scorer import RaterLabel


def labels_of(
    names: list[str], flipped: set[str], each: int, *, thumbs: bool = False
) -> tuple[torch.Tensor, list[RaterLabel]]:
    """Completions whose first feature is their worth, and raters who see it; those in `flipped` say the opposite."""
    generator = torch.Generator().manual_seed(0)
    count = len(names) * each * (1 if thumbs else 2)
    features = torch.randn(count, 6, generator=generator)
    found = []
    for number in range(len(names) * each):
        rater = names[number % len(names)]
        if thumbs:
            up = bool(features[number, 0] > 0) != (rater in flipped)
            found.append(RaterLabel(rater, number if up else None, None if up else number))
        else:
            first, second = 2 * number, 2 * number + 1
            is_first = bool(features[first, 0] > features[second, 0]) != (rater in flipped)
            found.append(RaterLabel(rater, first if is_first else second, second if is_first else first))
    return features, found


@pytest.mark.parametrize("thumbs", [False, True])
def test_contrarians_are_separated_from_the_others(thumbs: bool) -> None:
    names = [f"r{number}" for number in range(10)]
    features, labels = labels_of(names, {"r3", "r7"}, 20, thumbs=thumbs)
    trust = trust_of_raters(features, labels)
    assert max(trust["r3"], trust["r7"]) < 0.5
    assert min(eta for name, eta in trust.items() if name not in ("r3", "r7")) > 0.75


def shared(
    colluders: int,
    *,
    thumbs: bool,
    reliable: int = 8,
    on_shared: int = 0,
    gold: int = 0,
    informative: bool = True,
    seed: int = 0,
) -> tuple[torch.Tensor, list[RaterLabel]]:
    """`reliable` raters label 10 completions (or pairs) each alone; `colluders` give 20 others the same wrong labels.

    Each of these 20 is also labeled by `on_shared` of the reliable raters and by `gold` more. `informative`: whether
    features show the worth.
    """
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(20 * reliable + 40, 24, generator=generator)
    worth = features[:, 0].clone()
    found = []

    def label(rater: str, index: int, flipped: bool = False) -> None:
        first, second = 2 * index, 2 * index + 1
        is_first = bool(worth[first] > (0.0 if thumbs else worth[second])) != flipped
        if thumbs:
            found.append(RaterLabel(rater, first if is_first else None, None if is_first else first))
        else:
            found.append(RaterLabel(rater, first if is_first else second, second if is_first else first))

    for number in range(reliable * 10):
        label(f"reliable-{number % reliable}", number)
    for number in range(20):
        for rater in (
            *(f"reliable-{(number + more) % reliable}" for more in range(on_shared)),
            *(f"gold-{more}" for more in range(gold)),
        ):
            label(rater, 10 * reliable + number)
        for more in range(colluders):
            label(f"colluder-{more}", 10 * reliable + number, flipped=True)
    return (features if informative else torch.randn(features.shape, generator=generator)), found


def of_colluders(trust: dict[str, float]) -> float:
    return max(eta for name, eta in trust.items() if name.startswith("colluder"))


@pytest.mark.parametrize("thumbs", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_two_accounts_of_one_person_do_not_vouch_for_each_other(thumbs: bool, seed: int) -> None:
    alone = of_colluders(trust_of_raters(*shared(1, thumbs=thumbs, seed=seed)))
    both = trust_of_raters(*shared(2, thumbs=thumbs, seed=seed))
    assert of_colluders(both) == pytest.approx(alone, abs=0.1)
    assert of_colluders(both) < 0.7
    assert min(eta for name, eta in both.items() if name.startswith("reliable")) > 0.75


@pytest.mark.parametrize("thumbs", [False, True])
def test_votes_on_the_same_completions_count_where_features_show_nothing(thumbs: bool) -> None:
    trust = trust_of_raters(*shared(1, thumbs=thumbs, on_shared=3, informative=False))
    assert trust["colluder-0"] < 0.5
    assert min(eta for name, eta in trust.items() if name.startswith("reliable")) > 0.7
    unseen = trust_of_raters(*shared(1, thumbs=thumbs, informative=False))
    assert unseen["colluder-0"] > 0.6  # without votes nothing separates them


def test_gold_raters_decide_the_direction_when_most_work_against_them() -> None:
    names = [f"r{number}" for number in range(5)]
    features, labels = labels_of(names, {"r2", "r3", "r4"}, 20)
    trust = trust_of_raters(features, labels, pinned={"r0": 0.95, "r1": 0.95})
    assert trust["r0"] == trust["r1"] == 0.95
    assert max(trust[name] for name in ("r2", "r3", "r4")) < 0.5


@pytest.mark.parametrize("thumbs", [False, True])
@pytest.mark.parametrize("same_completions", [False, True])
def test_one_gold_rater_holds_against_five_who_vote_alike(thumbs: bool, same_completions: bool) -> None:
    if same_completions:
        features, labels = shared(5, thumbs=thumbs, reliable=0, gold=1, informative=False)
    else:
        five = [f"colluder-{number}" for number in range(5)]
        features, labels = labels_of(["gold-0", *five], set(five), 20, thumbs=thumbs)
    trust = trust_of_raters(features, labels, pinned={"gold-0": 0.95})
    assert trust.pop("gold-0") == 0.95
    assert len(trust) == 5
    assert max(trust.values()) < 0.5
    without_gold = trust_of_raters(features, labels)
    assert min(without_gold.values()) < 0.5 < of_colluders(without_gold)


def test_one_gold_thumb_is_enough_of_a_vote() -> None:
    features = torch.zeros(2, 3)  # shows nothing
    labels = [
        RaterLabel("gold", 0, None),
        RaterLabel("ann", 0, None),
        RaterLabel("ben", None, 0),
        RaterLabel("eve", 1, None),
    ]
    trust = trust_of_raters(features, labels, pinned={"gold": 0.95})
    assert trust["ann"] > trust["eve"] > trust["ben"]


def test_where_all_are_gold_there_is_nothing_to_estimate() -> None:
    features, labels = labels_of(["a", "b"], set(), 3)
    assert trust_of_raters(features, labels, pinned={"a": 0.95, "b": 0.9, "away": 0.5}) == {"a": 0.95, "b": 0.9}


def test_with_few_labels_the_prior_holds() -> None:
    names = [f"r{number}" for number in range(6)]
    features, labels = labels_of(names, set(), 1)
    trust = trust_of_raters(features, labels, prior_mean=0.7, prior_strength=100.0)
    assert all(eta == pytest.approx(0.7, abs=0.02) for eta in trust.values())
