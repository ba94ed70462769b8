"""Rewards that people write themselves: functions of a prompt and a reply, named by a setting and looked at whenever
they are called.
"""

import importlib
import math
from collections.abc import Callable
from typing import Any

from learner.errors import BadSetting
from policy.errors import first_line

RewardFunction = Callable[[str, str], float]


def reward_function(names: str) -> RewardFunction | None:
    """Return the sum of the functions that `module:function,module:function` names, None for "". Raises BadSetting, as
    does what is returned.
    """
    if not names:
        return None
    functions = [_named_function(name.strip()) for name in names.split(",")]
    return lambda prompt, reply: math.fsum(function(prompt, reply) for function in functions)


def _named_function(name: str) -> RewardFunction:
    """Return a function of the setting; what it returns is looked at, since it is other people's code and an error in
    it would name nothing.
    """
    module, _, attribute = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module may raise anything while it is imported
        raise BadSetting(f"the reward function {name!r} cannot be loaded ({first_line(error)})") from error
    if not callable(found):
        raise BadSetting(f"the reward function {name!r} is no function")

    def checked(prompt: str, reply: str) -> float:
        try:
            value = found(prompt, reply)
        except Exception as error:
            raise BadSetting(
                f"the reward function {name!r} failed on a reply with {type(error).__name__}: {first_line(error)}"
            ) from error
        try:
            number = float(value)
        except (
            TypeError,
            ValueError,
            OverflowError,
            RuntimeError,
        ):  # torch raises the last for a tensor of several numbers
            number = math.nan
        if not math.isfinite(number):
            raise BadSetting(
                f"the reward function {name!r} returned {' '.join(repr(value).split())[:100]}; it must return a finite number"
            )
        return number

    return checked
