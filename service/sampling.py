"""How an answer is sampled: what the request asks for, else the settings, else the model's makers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.settings import SamplingDefaults

PLAIN: dict[str, float] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "min_p": 0.0,
}  # the model's own distribution


@dataclass(frozen=True)
class Sampling:
    """How to sample. None means the default; for `seed` it means a random one."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    min_p: float | None = None
    stop: tuple[str, ...] = ()

    def over(self, defaults: Mapping[str, float]) -> dict[str, Any]:
        """Return the values that were asked for, over the defaults: by the names of PLAIN."""
        asked = {name: getattr(self, name) for name in PLAIN}
        return {**defaults, **{name: value for name, value in asked.items() if value is not None}}


def set_defaults(settings: SamplingDefaults) -> dict[str, float]:
    """Return the defaults that the operator has set, by the names of PLAIN."""
    values = {name: getattr(settings, name) for name in PLAIN}
    return {name: value for name, value in values.items() if value is not None}


def defaults_of(settings: SamplingDefaults, of_model: Mapping[str, float]) -> dict[str, float]:
    """Return the defaults in force: the operator's over the model makers'. All names of PLAIN are among them."""
    return {**PLAIN, **of_model, **set_defaults(settings)}
