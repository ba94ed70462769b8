"""How the makers of a model sample: the values of its generation_config.json."""

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policy.errors import ModelCorrupt

log = logging.getLogger(__name__)
NAME = "generation_config.json"
RANGES = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "top_k": (0, 2**31 - 1),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
    "repetition_penalty": (0.01, 2.0),
    "min_p": (0.0, 1.0),
}
# values that mean nothing, and so need no remark
UNKNOWN = {"typical_p": 1.0, "no_repeat_ngram_size": 0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0}


def read_generation_config(folder: Path) -> dict[str, Any]:
    """Return a model folder's generation_config.json, {} where there is none. Raises ModelCorrupt."""
    path = folder / NAME
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelCorrupt(f"{path} cannot be read ({error}); repair it, or remove it") from error
    if not isinstance(config, dict):
        raise ModelCorrupt(f"{path} is no JSON object; repair it, or remove it")
    return config


def sampling_of(folder: Path) -> dict[str, float]:
    """Return how a model's makers sample, by the names of RANGES. What cannot be right is left out, with a warning.

    Raises ModelCorrupt for a file that is not JSON.
    """
    config = read_generation_config(folder)
    for name, plain in UNKNOWN.items():
        if config.get(name) not in (None, plain):
            log.warning("%s asks for %s %s, which is not supported and left out", folder / NAME, name, config[name])
    return {name: value for name in RANGES if (value := _number(config, name, folder)) is not None}


def _number(config: Mapping[str, Any], name: str, folder: Path) -> float | None:
    value, (least, most) = config.get(name), RANGES[name]
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not least <= value <= most or (name == "top_k" and value != int(value)):
        log.warning("%s names a %s of %r, which is none; it is left out", folder / NAME, name, value)
        return None
    return int(value) if name == "top_k" else float(value)
