"""A plan is a pure function of its run: what is trained on, held out and replayed, and in which batches."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from learner.data.algorithm_examples import for_algorithm
from learner.data.examples import CompletionTokens, Example
from learner.data.plan import batches_of, halved, plan_of, seed_of, without_holdout
from learner.data.replay import replay_of
from learner.data.weighting import flip_rate_of, with_example_weights
from learner.errors import NothingToLearn
from learner.settings import LearnerSettings

Build = Callable[..., LearnerSettings]


def pair(number: int, rater: str = "ann", *, version: int = 0, prompt: int | None = None) -> Example:
    return Example(
        "pair",
        (1, prompt if prompt is not None else number),
        CompletionTokens((number, 2), None, version),
        CompletionTokens((number, 3, 2), None, version),
        rater,
        (f"f{number}",),
        number,
    )


def thumb(number: int, up: bool, rater: str = "ann") -> Example:
    tokens = CompletionTokens((number, 2), None, 0)
    return Example("thumb", (1, number), tokens if up else None, None if up else tokens, rater, (f"t{number}",), number)


def weighted(examples: list[Example], *, parent: int = 0, trust: dict[str, float] | None = None) -> list[Example]:
    return with_example_weights(examples, parent=parent, trust=trust or {}, default_flip_rate=0.0)


def test_the_same_run_has_the_same_plan_and_another_seed_another(make_settings: Build) -> None:
    new, earlier = [pair(n) for n in range(20)], [pair(n) for n in range(100, 160)]
    first, again, other = (plan_of(new, earlier, make_settings(), seed=seed, parent=0, trust={}) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_held_out_examples_are_in_no_batch_and_all_others_are_in_some(make_settings: Build) -> None:
    plan = plan_of(
        [pair(n) for n in range(40)],
        [],
        make_settings(gate__holdout=0.2, steps=60, passes=4),
        seed=1,
        parent=0,
        trust={},
    )
    assert len(plan.held_out) == 8
    assert not {example.prompt_ids for example in plan.held_out} & {example.prompt_ids for example in plan.trained}
    assert {index for batch in plan.batches for index in batch} == set(range(len(plan.trained)))
    assert sorted(row for example in (*plan.trained, *plan.held_out) for row in example.feedback_ids) == sorted(
        f"f{n}" for n in range(40)
    )


def test_a_pair_counts_for_kto_as_much_as_it_does_otherwise() -> None:
    halves = weighted(for_algorithm([pair(1)], "kto"))
    [one] = weighted([thumb(1, up=True)])
    assert [half.example_weight for half in halves] == pytest.approx([one.example_weight / 2] * 2)
    again = weighted(for_algorithm([pair(1, prompt=7), pair(2, prompt=7)], "kto"))
    assert [half.example_weight for half in again] == pytest.approx(
        [one.example_weight / 2 / 2**0.5] * 4
    )  # twice on one prompt


def test_feedback_of_one_rater_on_one_prompt_is_held_out_together() -> None:
    new = [pair(n, prompt=n // 4) for n in range(40)]
    kept, out = without_holdout(new, 0.25, seed=3)
    assert {example.prompt_ids for example in kept}.isdisjoint(example.prompt_ids for example in out)
    assert len(kept) + len(out) == 40
    assert 4 <= len(out) <= 12


def test_asking_again_does_not_take_the_weight_of_thumbs_up() -> None:
    ups = [thumb(n, up=True) for n in range(10)]
    implicit = replace(thumb(99, up=False), is_implicit=True, share=0.2)
    alone = weighted(ups)
    beside = weighted([*ups, implicit])
    assert [example.example_weight for example in beside[:-1]] == [example.example_weight for example in alone]
    assert 0.0 < beside[-1].example_weight <= 0.2


def sides(examples: list[Example]) -> tuple[float, float]:
    """The whole weight of thumbs up and of thumbs down."""
    weights = [(example.example_weight, example.up) for example in weighted(examples)]
    return sum(weight for weight, up in weights if up), sum(weight for weight, up in weights if not up)


def test_much_asking_again_counts_no_more_than_three_times_the_thumbs_up() -> None:
    ups = [thumb(n, up=True) for n in range(3)]
    downs = [thumb(10 + n, up=False) for n in range(4)]
    implicit = [replace(thumb(100 + n, up=False), is_implicit=True, share=0.2) for n in range(200)]
    for thumbs in (ups, [*ups, *downs]):
        up, down = sides([*thumbs, *implicit])
        assert up == pytest.approx(sides(thumbs)[0])
        assert down == pytest.approx(3.0 * up)
    explicit = [example.example_weight for example in weighted([*ups, *downs, *implicit])[:7]]
    assert explicit == [example.example_weight for example in weighted([*ups, *downs])]


def test_asking_again_keeps_its_weight_where_there_is_room_or_no_thumb_is_up() -> None:
    implicit = [replace(thumb(100 + n, up=False), is_implicit=True, share=0.2) for n in range(5)]
    whole = sides(implicit)[1]
    assert whole > 0.0
    assert sides([*(thumb(n, up=True) for n in range(3)), *implicit])[1] == pytest.approx(whole)


def test_implicit_feedback_is_never_held_out() -> None:
    explicit = [pair(n) for n in range(20)]
    implicit = [replace(thumb(n, up=False), is_implicit=True) for n in range(20)]
    kept, out = without_holdout([*implicit, *explicit], 0.25, seed=3)
    assert len(out) == 5
    assert not any(example.is_implicit for example in out)
    assert {example.prompt_ids for example in kept}.isdisjoint(example.prompt_ids for example in out)
    assert sum(example.is_implicit for example in kept) == 15
    assert without_holdout(implicit, 0.25, seed=3) == (implicit, [])


def test_few_examples_are_all_trained_on() -> None:
    assert without_holdout([pair(n) for n in range(7)], 0.5, seed=0)[1] == []


def test_replay_comes_on_top_and_is_bounded_by_its_ratio(make_settings: Build) -> None:
    plan = plan_of(
        [pair(n) for n in range(10)],
        [pair(n) for n in range(50, 90)],
        make_settings(replay=2.0, gate__holdout=0),
        seed=0,
        parent=0,
        trust={},
    )
    assert sum(example.seq >= 50 for example in plan.trained) == 20


def test_an_algorithm_that_can_learn_from_nothing_is_named_in_the_error(make_settings: Build) -> None:
    with pytest.raises(NothingToLearn, match="'dpo'"):
        plan_of([thumb(1, True)], [pair(5)], make_settings(algorithm="dpo"), seed=0, parent=0, trust={})


def test_batches_go_through_all_before_any_comes_again() -> None:
    batches = batches_of(10, 4, 30, 2, seed=0)
    assert len(batches) == 5
    assert set(Counter(index for batch in batches for index in batch).values()) == {2}
    assert batches_of(3, 8, 30, 2, seed=0) == batches_of(3, 3, 30, 2, seed=0)
    assert all(sorted(batch) == [0, 1, 2] for batch in batches_of(3, 8, 30, 2, seed=0))
    assert len(batches_of(1000, 8, 30, 8, seed=0)) == 30
    keys = [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]  # five pairs as two thumbs each: they lie side by side
    stream = [keys[index] for batch in batches_of(10, 4, 30, 2, seed=0, together=keys) for index in batch]
    assert stream[::2] == stream[1::2]
    assert batches_of(10, 4, 30, 2, seed=0, together=range(10)) == batches


def test_a_second_try_is_half_as_long(make_settings: Build) -> None:
    settings = make_settings(steps=30, passes=8)
    assert (
        len(batches_of(24, 8, halved(settings).steps, halved(settings).passes, 0)) * 2
        <= len(batches_of(24, 8, 30, 8, 0)) + 1
    )


def test_runs_have_seeds_of_their_own() -> None:
    seeds = [seed_of(0, count, 0, upto) for count in range(10) for upto in range(10)]
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_replay_is_the_same_whatever_the_order_it_is_asked_in() -> None:
    earlier = [pair(n, f"rater{n % 3}") for n in range(60)]
    shuffled = random.Random(1).sample(earlier, 60)
    assert replay_of(earlier, 20, 7) == replay_of(shuffled, 20, 7)


def test_neither_an_active_rater_nor_a_popular_prompt_crowds_out_the_rest() -> None:
    earlier = [pair(n, "loud") for n in range(200)] + [pair(n, "quiet") for n in range(500, 505)]
    chosen = replay_of(earlier, 10, 0)
    assert sum(example.rater_id == "quiet" for example in chosen) == 5
    same = [pair(n, prompt=0) for n in range(50)] + [pair(n, prompt=n) for n in range(60, 64)]
    assert sum(example.prompt_ids == (1, 0) for example in replay_of(same, 5, 0)) == 1


def test_weights_fall_with_age_repetition_and_distrust() -> None:
    fresh, old = pair(1, version=9), pair(2, version=1)
    weights = {example.prompt_ids: example.example_weight for example in weighted([fresh, old], parent=9)}
    assert weights[old.prompt_ids] == pytest.approx(0.5 * weights[fresh.prompt_ids])
    one, *twice = weighted([pair(1), pair(2, prompt=5), pair(3, prompt=5)])
    assert twice[0].example_weight == pytest.approx(one.example_weight / 2**0.5)
    (distrusted,) = weighted([pair(1)], trust={"ann": 0.7})
    assert (distrusted.flip_rate, distrusted.example_weight) == (pytest.approx(0.3), pytest.approx(0.16))


def test_what_is_trusted_less_than_chance_counts_as_near_chance() -> None:
    assert flip_rate_of(0.1, 0.05) == 0.45
    assert flip_rate_of(None, 0.05) == 0.05


def test_no_rater_holds_more_than_their_share() -> None:
    crowd = [pair(n, "loud") for n in range(100)] + [pair(200 + n, f"rater{n}") for n in range(19)]
    weights = weighted(crowd)
    loud = sum(example.example_weight for example in weights if example.rater_id == "loud")
    assert loud / sum(example.example_weight for example in weights) == pytest.approx(2 / 20, rel=0.1)


def test_labels_of_raters_who_are_as_often_wrong_as_right_are_not_held_out(make_settings: Build) -> None:
    new = [pair(n, ("ann", "bob", "eve")[n % 3]) for n in range(60)]
    trust = {"ann": 0.9, "bob": 0.9, "eve": 0.2}
    plan = plan_of(new, [], make_settings(gate__holdout=0.5), seed=1, parent=0, trust=trust)
    assert {example.rater_id for example in plan.held_out} == {"ann", "bob"}
    assert {example.rater_id for example in plan.trained} == {"ann", "bob", "eve"}


def test_untrusted_raters_leave_nothing_to_learn(make_settings: Build) -> None:
    silent = [replace(pair(n), share=0.0) for n in range(3)]
    with pytest.raises(NothingToLearn, match="counts for nothing"):
        plan_of(silent, [], make_settings(), seed=0, parent=0, trust={})


def test_a_second_try_of_ilql_shifts_the_policy_as_far(make_settings: Build) -> None:
    assert halved(make_settings(algorithm="ilql", ilql__beta=8)).ilql.beta == 8


def test_the_number_of_steps_follows_the_new_examples(make_settings: Build) -> None:
    settings = make_settings(gate__holdout=0, steps=1000, passes=8, batch_size=8, replay=1)
    new, earlier = [pair(n) for n in range(16)], [pair(n) for n in range(100, 200)]
    first = plan_of(new, [], settings, seed=1, parent=0, trust={})
    later = plan_of(new, earlier, settings, seed=1, parent=0, trust={})
    assert (len(first.batches), len(later.batches)) == (16, 20)  # 8 passes over the new ones, 2 over those of before
    seen = Counter(index for batch in later.batches for index in batch)
    assert len(later.trained) == len(seen) == 32
    ids = {row for example in new for row in example.feedback_ids}
    turns = {later.trained[index].feedback_ids[0] in ids: count for index, count in seen.items()}
    assert turns == {True: 8, False: 2}
