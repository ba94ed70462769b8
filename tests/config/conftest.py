"""Both processes' settings, a bare environment, and a valid value for each setting."""

import os
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic.fields import FieldInfo

from config.fields import fields_of
from config.names import Names
from learner.settings import NAMES as LEARNER
from service.settings import NAMES as SERVICE

BOTH = [pytest.param(SERVICE, id="service"), pytest.param(LEARNER, id="learner")]
EVERY_PATH = [
    pytest.param(names, path, id=names.variable(path)) for names in (SERVICE, LEARNER) for path in names.paths
]
# Settings whose type alone does not give a valid value.
VALUES: dict[str, Any] = {
    "model": "other",
    "chat_template": "chatml",
    "chat_template_kwargs": '{"style": "dry"}',
    "device": "cuda",
    "vllm": "http://one:1/v1",
    "compare": "a=http://one",
    "origins": "https://chat.example",
    "reward_model.functions": "module:function",
    "sampler": "torch",
    "rollout.minibatches": 3,
    "ppo.kl_weight": 0.5,
}


def valid_value(names: Names, path: str) -> Any:
    """Return a value that a setting may have, other than its default."""
    if path in VALUES:
        return VALUES[path]
    return _valid_value(dict(fields_of(names.kind))[path])


def _valid_value(field: FieldInfo) -> Any:
    kind: Any = field.annotation
    if get_origin(kind) is Literal:
        return next(value for value in get_args(kind) if value != field.default)
    if kind is bool:
        return not field.default
    types = get_args(kind) or (kind,)
    if int in types or float in types:
        return _valid_number(field, int in types)
    return "some/text"


def _valid_number(field: FieldInfo, is_whole: bool) -> float:
    bounds = {
        name: getattr(rule, name) for rule in field.metadata for name in ("ge", "gt", "le", "lt") if hasattr(rule, name)
    }
    low = max([bounds[name] for name in ("ge", "gt") if name in bounds], default=0)
    high = min([bounds[name] for name in ("le", "lt") if name in bounds], default=low + 8)
    share = next(share for share in (0.25, 0.5, 0.75) if low + share * (high - low) != field.default)
    value = low + share * (high - low)
    return max(int(value), low + 1) if is_whole else value


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("ATTUNE_")]:
        monkeypatch.delenv(name)
