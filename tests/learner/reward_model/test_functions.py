"""Reward functions of a setting are found by name, added, and named when they fail."""

import pytest
import torch

from learner.errors import BadSetting
from learner.reward_model.functions import reward_function


def test_a_reward_function_is_found_by_name_or_refused() -> None:
    found = reward_function("os.path:join")
    assert found is not None
    assert reward_function("") is None
    for name in ("os.path:nothing", "no_such_module:f", "os:sep"):
        with pytest.raises(ValueError, match="reward function"):
            reward_function(name)


def length_of(prompt: str, answer: str) -> int:
    return len(answer)


def fails(prompt: str, answer: str) -> float:
    raise ValueError("no")


def returns_nothing(prompt: str, answer: str) -> None:
    pass


def not_a_number(prompt: str, answer: str) -> float:
    return float("nan")


def several(prompt: str, answer: str) -> torch.Tensor:
    return torch.ones(2)


def test_the_numbers_of_several_reward_functions_are_added() -> None:
    one, two = (
        reward_function(names) for names in (f"{__name__}:length_of", f"{__name__}:length_of, {__name__}:length_of")
    )
    assert one is not None
    assert two is not None
    assert (one("q", "four"), two("q", "four")) == (4.0, 8.0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fails", "failed on an answer with ValueError: no"),
        ("returns_nothing", "returned None; it must return a finite number"),
        ("not_a_number", "returned nan"),
        ("several", r"returned tensor\(\[1., 1.\]\)"),
    ],
)
def test_a_reward_function_that_gives_no_number_is_named(name: str, message: str) -> None:
    function = reward_function(f"{__name__}:length_of,{__name__}:{name}")
    assert function is not None
    with pytest.raises(BadSetting, match=f"the reward function '{__name__}:{name}' {message}"):
        function("q", "a")
