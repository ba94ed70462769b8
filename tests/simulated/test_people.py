"""Tastes, tempers and questions of simulated users."""

import random

import pytest

from clients.simulated.errors import SimulatedError, UnknownTaste
from clients.simulated.populations import SLIPS, User, population
from clients.simulated.questions import Question, asked, held_out
from clients.simulated.tastes import KNOWN, Taste, tastes_of
from pocket.skills import FEEDBACK_SKILLS, RETENTION_SKILLS

CAPITAL = Question(FEEDBACK_SKILLS["capitals"].prompt(random.Random(1), "en", "train"))


def user(taste: str = "short", temper: str = "steady") -> User:
    return User("u", Taste.named(taste), temper, random.Random(0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("taste", "better", "worse"),
    [
        ("short", "Paris.", "The capital of France is Paris."),
        ("long", "The capital of France is Paris.", "Paris."),
        ("plain", "It is Paris", "**Paris**!!!"),
        ("polite", "Sure! It is Paris.", "It is Paris."),
        ("polite", "It is Paris.", "Obviously, it is Paris."),
        ("short+polite", "Sure! Paris.", "Obviously, the capital of France is Paris."),
        ("long*2+short", "The capital of France is Paris.", "Paris."),
    ],
)
def test_a_taste_likes_the_better_answer_more(taste: str, better: str, worse: str) -> None:
    like = Taste.named(taste)
    assert like.of(CAPITAL, better) > like.of(CAPITAL, worse)
    assert user(taste).choose(CAPITAL, better, worse) == "A"
    assert user(taste).choose(CAPITAL, worse, better) == "B"
    assert user(taste, "contrarian").choose(CAPITAL, worse, better) == "A"


def test_correct_asks_the_skills_own_checker() -> None:
    rng = random.Random(3)
    for question in asked(0, 40):
        skill = FEEDBACK_SKILLS[question.prompt.skill]
        right, wrong = skill.right_answer(rng, question.prompt), skill.flawed_answer(rng, question.prompt)
        if question.is_right(right) and not question.is_right(wrong):
            assert user("correct").choose(question, wrong, right) == "B"


@pytest.mark.parametrize("name", ["shrt", "", "short+", "short*x", "short,,long"])
def test_an_unknown_taste_is_named(name: str) -> None:
    with pytest.raises(UnknownTaste):
        tastes_of(name)


@pytest.mark.parametrize("name", [*KNOWN, "short+polite", "correct*2+short"])
def test_a_taste_has_its_name(name: str) -> None:
    assert str(Taste.named(name)) == name


def test_tempers() -> None:
    assert {user("short", "lazy").choose(CAPITAL, "long answer", "x") for _ in range(9)} == {"A"}
    assert user("short", "lazy").thumb(CAPITAL, "anything") == "up"
    noisy = user("short", "noisy")
    slips = sum(noisy.choose(CAPITAL, "x", "a long answer") == "B" for _ in range(2000)) / 2000
    assert abs(slips - SLIPS) < 0.04
    assert user("short").choose(CAPITAL, "same", "four") == "tie"


def test_a_thumb_compares_with_what_is_usual() -> None:
    person = user("short")
    person.choose(CAPITAL, "four", "eight888")
    assert person.thumb(CAPITAL, "a very long answer indeed") == "down"
    assert person.thumb(CAPITAL, "a") == "up"
    assert user("short").thumb(CAPITAL, "the first answer ever") is None


@pytest.mark.parametrize("taste", list(KNOWN))
def test_a_correction_is_right_and_liked_better(taste: str) -> None:
    person, corrections, right = user(taste), 0, 0
    for question in asked(5, 120):
        better = person.correction(question, "Obviously, I do not know that!!! **sorry**, ask somebody else")
        if better is not None:
            corrections += 1
            right += question.is_right(better)
            assert person.taste.of(question, better) > person.taste.of(
                question, "Obviously, I do not know that!!! **sorry**, ask somebody else"
            )
    if taste != "long":
        assert corrections > 60
    assert right == corrections
    assert user(taste, "lazy").correction(CAPITAL, "x") is None


def test_questions_are_the_same_for_the_same_seed_and_never_held_out_ones() -> None:
    assert [question.messages for question in asked(1, 50)] == [question.messages for question in asked(1, 50)]
    assert [question.messages for question in asked(1, 50)] != [question.messages for question in asked(2, 50)]
    ours = {str(question.messages) for seed in range(5) for question in asked(seed, 400)}
    held = {str(question.messages) for question in held_out(200)}
    assert len(held & ours) <= 0.03 * len(held)
    used = {question.prompt.skill for question in asked(0, 400)}
    assert used == set(FEEDBACK_SKILLS)
    assert not used & set(RETENTION_SKILLS)


def test_a_population_has_its_shares() -> None:
    people = population("short,polite", 20, 3, noisy=0.2, lazy=0.1, contrarian=0.05)
    tempers = [one.temper for one in people.users]
    assert (tempers.count("noisy"), tempers.count("lazy"), tempers.count("contrarian"), tempers.count("steady")) == (
        4,
        2,
        1,
        13,
    )
    assert {str(one.taste) for one in people.users} == {"short", "polite"}
    assert len({one.name for one in people.users}) == 20
    assert tempers == [
        one.temper for one in population("short,polite", 20, 3, noisy=0.2, lazy=0.1, contrarian=0.05).users
    ]


@pytest.mark.parametrize("shares", [{"noisy": 1.5}, {"lazy": -0.1}, {"noisy": 0.6, "lazy": 0.6}])
def test_shares_that_do_not_fit_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(SimulatedError, match="no population"):
        population("short", 10, 0, **shares)
