"""Reward functions that people write: Python functions of a prompt and an answer, named in a setting."""

import importlib
import math
from collections.abc import Callable
from typing import Any

from learner.errors import BadSetting
from policy.errors import first_line

RewardFunction = Callable[[str, str], float]


def reward_function(names: str) -> RewardFunction | None:
    """Return the sum of the functions that `module:function,module:function` names; None for "".

    Raises BadSetting for a name that cannot be loaded. So does the returned function, for a call that fails.
    """
    if not names:
        return None
    functions = [_named_function(name.strip()) for name in names.split(",")]
    return lambda prompt, answer: math.fsum(function(prompt, answer) for function in functions)


def _named_function(name: str) -> RewardFunction:
    """Return one function, wrapped to name itself in every error: other people wrote it."""
    module, _, attribute = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module may raise anything while it is imported
        raise BadSetting(f"the reward function {name!r} cannot be loaded ({first_line(error)})") from error
    if not callable(found):
        raise BadSetting(f"the reward function {name!r} is no function; name one as module:function")

    def checked(prompt: str, answer: str) -> float:
        try:
            value = found(prompt, answer)
        except Exception as error:
            what = f"{type(error).__name__}: {first_line(error)}"
            raise BadSetting(f"the reward function {name!r} failed on an answer with {what}") from error
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError, RuntimeError):  # RuntimeError: a tensor of several numbers
            number = math.nan
        if not math.isfinite(number):
            shown = " ".join(repr(value).split())[:100]
            raise BadSetting(f"the reward function {name!r} returned {shown}; it must return a finite number")
        return number

    return checked
