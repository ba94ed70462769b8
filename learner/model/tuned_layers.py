"""Which layers are trained: all of them, or the upper ones where an update of all takes too long."""

import os
import re
from collections.abc import Iterable

PARAMETERS_PER_CORE = 25_000_000  # up to which a CPU trains all layers
UPPER_SHARE = 1 / 3  # of the layers, beyond that
LEAST_LAYERS = 4


def is_small_here(num_parameters: int, device: str, cores: int | None = None) -> bool:
    """Return whether a model is small for this machine: on a GPU, or with a core per 25 million parameters."""
    return device != "cpu" or num_parameters <= PARAMETERS_PER_CORE * (cores or available_cores())


def first_tuned_layer(tune_layers: int, num_layers: int, *, is_small: bool, tuning: str) -> int:
    """Return the index of the lowest layer that is trained; 0 trains all. `tune_layers` 0 chooses."""
    if tune_layers == 0 and (is_small or tuning == "full"):
        return 0
    count = tune_layers or max(LEAST_LAYERS, round(UPPER_SHARE * num_layers))
    return max(0, num_layers - count)


def rate_factor(num_layers: int, tuned_layers: int) -> float:
    """Return by how much the step size grows where fewer layers are trained: each has to move further."""
    return (num_layers / tuned_layers) ** 0.5 if 0 < tuned_layers < num_layers else 1.0


def is_below(name: str, path: str, first: int) -> bool:
    """Return whether a weight belongs to a layer below `first`; `path` is the name of the model's list of layers."""
    found = re.search(rf"(?:^|\.){re.escape(path)}\.(\d+)\.", name)
    return found is not None and int(found[1]) < first


def lowest_layer(config_layers: Iterable[int] | int | None) -> int:
    """Return the lowest layer that an adapter's `layers_to_transform` names; None names all."""
    if config_layers is None:
        return 0
    return config_layers if isinstance(config_layers, int) else min(config_layers, default=0)


def available_cores() -> int:
    """Return the CPU cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
