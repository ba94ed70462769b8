"""People who agree with the others are believed, people who work against them are not, and do not steer an update."""

import random
from collections.abc import Callable

import pytest
import torch

from learner.data.examples import CompletionTokens, Example
from learner.model.resident import Resident
from learner.model.scoring import completion_sums
from learner.reward_model.trust import Judgement, believed_of, trust_of_raters
from learner.settings import LearnerSettings
from learner.update import Result, Updater
from store.database import transaction
from store.ids import now
from store.raters import set_quarantine, set_trust
from store.runs import Run
from tests.learner.world import END, World

Build = Callable[..., LearnerSettings]
HONEST = [f"honest-{number}" for number in range(8)]
COLLUDERS = ["colluder-0", "colluder-1"]  # 20 % of the people


def crowd(world: World, *, honest_items: int = 5, collusive_items: int = 10) -> None:
    """Eight people who like short replies, and two who say together, twice as often, that the long ones are better. No
    reply is judged twice.
    """
    rng = random.Random(3)
    said = [name for name in HONEST for _ in range(honest_items)] + [
        name for name in COLLUDERS for _ in range(collusive_items)
    ]
    rng.shuffle(said)
    for number, name in enumerate(said):
        prompt = (1, 4, 10 + number % 200, 11 + number // 200, 2, 5)
        short = world.reply(prompt, (50 + number % 40, END), rater=name)
        long = world.reply(prompt, (60, 61 + number % 30, *(62 + rng.randrange(6) for _ in range(4)), END), rater=name)
        world.choice(long, short, "A" if name in COLLUDERS else "B", rater=name)


def update(world: World, settings: LearnerSettings, resident: Resident | None = None) -> Result:
    resident = resident or Resident(settings)
    run = Run("run-1", settings.algorithm, "running", {}, 11, 0, 60, 0, 10_000, now())
    return Updater(resident, settings).update(run, world.material(resident, run), settings, lambda *_: None)


def preference(resident: Resident) -> float:
    """By how much the resident weights lean to short replies to prompts that nobody ever judged, in nats."""
    unseen = [
        ((1, 4, 230, 10 + number, 2, 5), ((51 + number, END), (60, 61, 62, 63, 64, 65, END))) for number in range(16)
    ]
    replies = [(prompt, reply) for prompt, both in unseen for reply in both]
    now_ = completion_sums(resident.model, replies, 4096)
    with resident.as_base():
        moved = now_ - completion_sums(resident.model, replies, 4096)
    return float((moved[0::2] - moved[1::2]).mean())


def test_a_fifth_of_colluders_is_found_though_nobody_judged_the_same_reply(world: World, make_settings: Build) -> None:
    crowd(world)
    result = update(world, make_settings())
    assert set(result.trust) == {*HONEST, *COLLUDERS}
    assert min(result.trust[name] for name in HONEST) > 0.8
    assert max(result.trust[name] for name in COLLUDERS) < 0.5


def test_colluders_do_not_steer_the_update(world: World, make_settings: Build) -> None:
    crowd(world)
    more = {
        "gate.holdout": 0,
        "steps": 40,
        "passes": 6,
        "max_kl": 50,
        "anchors.weight": 0,
        "min_chosen_log_ratio": -100,
    }
    believing, weighing = Resident(make_settings(trust__feedback=0, **more)), Resident(make_settings(**more))
    believed, weighed = (update(world, resident.settings, resident) for resident in (believing, weighing))
    assert sum(believed.metrics["raters"][name]["share"] for name in COLLUDERS) > 0.25
    assert sum(weighed.metrics["raters"][name]["share"] for name in COLLUDERS) < 0.03
    assert preference(weighing) > 1.0
    assert preference(believing) < 0.0  # without it they would


def test_what_was_made_of_each_rater_is_recorded(world: World, make_settings: Build) -> None:
    crowd(world)
    raters = update(world, make_settings(gate__holdout=0)).metrics["raters"]
    assert set(raters) == {*HONEST, *COLLUDERS}
    assert sum(entry["share"] for entry in raters.values()) == pytest.approx(1.0, abs=1e-2)
    assert all(entry["items"] in (5, 10) for entry in raters.values())


def test_somebody_in_quarantine_has_no_say_at_all(world: World, make_settings: Build) -> None:
    crowd(world)
    with transaction(world.db):
        for name in COLLUDERS:
            set_quarantine(world.db, name, "they work together")
    result = update(world, make_settings(gate__holdout=0))
    assert not set(COLLUDERS) & {*result.trust, *result.metrics["raters"]}
    assert not {example.rater_id for example in result.plan.trained} & set(COLLUDERS)


def test_two_people_tell_nothing_of_each_other(world: World, make_settings: Build) -> None:
    world.likes_short(6)
    assert update(world, make_settings(gate__holdout=0)).trust == {}


def test_what_was_found_of_somebody_holds_when_their_word_has_left_the_newest_judgements(
    world: World, make_settings: Build
) -> None:
    for number, name in enumerate(["caught", "stranger"] * 4 + HONEST * 3):
        prompt = (1, 4, 10 + number, 11, 2, 5)
        world.choice(
            world.reply(prompt, (50, END), rater=name),
            world.reply(prompt, (60, 61, 62, END), rater=name),
            "A",
            rater=name,
        )
    with transaction(world.db):
        set_trust(world.db, {"caught": 0.1})
    result = update(world, make_settings(gate__holdout=0, trust__feedback=24))
    assert set(result.trust) == set(HONEST)  # nothing new is put on record of the two
    assert {example.flip_rate for example in result.plan.trained if example.rater_id == "caught"} == {0.45}
    assert {example.flip_rate for example in result.plan.trained if example.rater_id == "stranger"} == {1.0 - 0.8}
    assert (result.metrics["raters"]["caught"]["trust"], result.metrics["raters"]["stranger"]["trust"]) == (0.1, 0.8)


def test_the_last_estimates_speak_when_too_few_people_do_for_new_ones(make_settings: Build) -> None:
    reply = CompletionTokens((5, END), None, 0)
    said = [
        Example("thumb", (1,), reply, None, name, (name,), number) for number, name in enumerate(["ann", "ben", "gold"])
    ]
    settings = make_settings(trust__gold_raters="gold")
    assert believed_of(said, {}, {"ann": 0.3, "away": 0.9}, settings) == {"ann": 0.3, "ben": 0.8, "gold": 0.95}
    assert believed_of(said, {"ann": 0.6}, {"ann": 0.3}, settings) == {"ann": 0.6, "ben": 0.8, "gold": 0.95}
    assert believed_of(said, {}, {}, settings) == {}
    assert believed_of(said, {}, {"ann": 0.3}, make_settings(trust__feedback=0)) == {}


def judgements(
    names: list[str], flipped: set[str], each: int, *, thumbs: bool = False
) -> tuple[torch.Tensor, list[Judgement]]:
    """Replies whose first feature is their worth, judged by people who see that, those in `flipped` the other way
    round.
    """
    generator = torch.Generator().manual_seed(0)
    count = len(names) * each * (1 if thumbs else 2)
    features = torch.randn(count, 6, generator=generator)
    found = []
    for number in range(len(names) * each):
        rater = names[number % len(names)]
        if thumbs:
            up = bool(features[number, 0] > 0) != (rater in flipped)
            found.append(Judgement(rater, number if up else None, None if up else number))
        else:
            first, second = 2 * number, 2 * number + 1
            is_first = bool(features[first, 0] > features[second, 0]) != (rater in flipped)
            found.append(Judgement(rater, first if is_first else second, second if is_first else first))
    return features, found


@pytest.mark.parametrize("thumbs", [False, True])
def test_contrarians_are_told_from_the_others(thumbs: bool) -> None:
    names = [f"r{number}" for number in range(10)]
    features, said = judgements(names, {"r3", "r7"}, 20, thumbs=thumbs)
    honesty = trust_of_raters(features, said)
    assert max(honesty["r3"], honesty["r7"]) < 0.5
    assert min(eta for name, eta in honesty.items() if name not in ("r3", "r7")) > 0.75


def shared(
    colluders: int,
    *,
    thumbs: bool,
    honest: int = 8,
    on_shared: int = 0,
    gold: int = 0,
    telling: bool = True,
    seed: int = 0,
) -> tuple[torch.Tensor, list[Judgement]]:
    """`honest` people on 10 replies (or pairs) each that nobody else saw, and `colluders` who all say the same untruth
    of 20 others.

    Of these 20, each is also judged by `on_shared` of the honest and by `gold` more people who see the truth.
    `telling`: whether features show it.
    """
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(20 * honest + 40, 24, generator=generator)
    worth = features[:, 0].clone()
    found = []

    def judge(rater: str, item: int, flipped: bool = False) -> None:
        first, second = 2 * item, 2 * item + 1
        is_first = bool(worth[first] > (0.0 if thumbs else worth[second])) != flipped
        if thumbs:
            found.append(Judgement(rater, first if is_first else None, None if is_first else first))
        else:
            found.append(Judgement(rater, first if is_first else second, second if is_first else first))

    for number in range(honest * 10):
        judge(f"honest-{number % honest}", number)
    for number in range(20):
        for rater in (
            *(f"honest-{(number + more) % honest}" for more in range(on_shared)),
            *(f"gold-{more}" for more in range(gold)),
        ):
            judge(rater, 10 * honest + number)
        for more in range(colluders):
            judge(f"colluder-{more}", 10 * honest + number, flipped=True)
    return (features if telling else torch.randn(features.shape, generator=generator)), found


def of_colluders(honesty: dict[str, float]) -> float:
    return max(eta for name, eta in honesty.items() if name.startswith("colluder"))


@pytest.mark.parametrize("thumbs", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_two_accounts_of_one_person_do_not_vouch_for_each_other(thumbs: bool, seed: int) -> None:
    alone = of_colluders(trust_of_raters(*shared(1, thumbs=thumbs, seed=seed)))
    both = trust_of_raters(*shared(2, thumbs=thumbs, seed=seed))
    assert of_colluders(both) == pytest.approx(alone, abs=0.1)
    assert of_colluders(both) < 0.7
    assert min(eta for name, eta in both.items() if name.startswith("honest")) > 0.75


@pytest.mark.parametrize("thumbs", [False, True])
def test_votes_of_others_on_the_same_replies_count_where_features_tell_nothing(thumbs: bool) -> None:
    honesty = trust_of_raters(*shared(1, thumbs=thumbs, on_shared=3, telling=False))
    assert honesty["colluder-0"] < 0.5
    assert min(eta for name, eta in honesty.items() if name.startswith("honest")) > 0.7
    unseen = trust_of_raters(*shared(1, thumbs=thumbs, telling=False))
    assert unseen["colluder-0"] > 0.6  # without them there is nothing to tell


def test_gold_raters_say_which_way_is_up_when_most_work_against_them() -> None:
    names = [f"r{number}" for number in range(5)]
    features, said = judgements(names, {"r2", "r3", "r4"}, 20)
    honesty = trust_of_raters(features, said, pinned={"r0": 0.95, "r1": 0.95})
    assert honesty["r0"] == honesty["r1"] == 0.95
    assert max(honesty[name] for name in ("r2", "r3", "r4")) < 0.5


@pytest.mark.parametrize("thumbs", [False, True])
@pytest.mark.parametrize("same_replies", [False, True])
def test_one_gold_rater_holds_against_five_who_speak_with_one_voice(thumbs: bool, same_replies: bool) -> None:
    if same_replies:
        features, said = shared(5, thumbs=thumbs, honest=0, gold=1, telling=False)
    else:
        five = [f"colluder-{number}" for number in range(5)]
        features, said = judgements(["gold-0", *five], set(five), 20, thumbs=thumbs)
    honesty = trust_of_raters(features, said, pinned={"gold-0": 0.95})
    assert honesty.pop("gold-0") == 0.95
    assert len(honesty) == 5
    assert max(honesty.values()) < 0.5
    assert (
        min(trust_of_raters(features, said).values()) < 0.5 < of_colluders(trust_of_raters(features, said))
    )  # unless it is said to be gold


def test_one_gold_thumb_is_enough_to_speak_beside_the_scorer() -> None:
    features = torch.zeros(2, 3)  # tells nothing
    said = [Judgement("gold", 0, None), Judgement("ann", 0, None), Judgement("ben", None, 0), Judgement("eve", 1, None)]
    honesty = trust_of_raters(features, said, pinned={"gold": 0.95})
    assert honesty["ann"] > honesty["eve"] > honesty["ben"]


def test_where_all_are_gold_there_is_nothing_to_estimate() -> None:
    features, said = judgements(["a", "b"], set(), 3)
    assert trust_of_raters(features, said, pinned={"a": 0.95, "b": 0.9, "away": 0.5}) == {"a": 0.95, "b": 0.9}


def test_with_little_said_the_prior_speaks() -> None:
    names = [f"r{number}" for number in range(6)]
    features, said = judgements(names, set(), 1)
    honesty = trust_of_raters(features, said, prior_mean=0.7, prior_strength=100.0)
    assert all(eta == pytest.approx(0.7, abs=0.02) for eta in honesty.values())
