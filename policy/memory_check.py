"""Refuses a model that cannot fit into the memory that is free, before anything is loaded. No torch."""

from pathlib import Path

from policy.errors import UnsupportedModel
from policy.free_memory import available_memory
from policy.memory import PROCESS, num_weights
from policy.runners.base import RunnerOptions

# bytes of a weight: the least that any runner takes for it
HALF = 2.0
QUANTIZED = {"q8_0": 1.06, "q4_0": 0.56}
SMALLEST = 0.5
TRAINING = 0.75 * 2**30  # bytes: the libraries of the learner
FLOAT32 = 4.0


def check_memory(name: str, folder: Path, options: RunnerOptions) -> None:
    """Raise UnsupportedModel where not even one version fits into the memory that is free. A GPU is not checked."""
    if options.device != "cpu":
        return
    width = HALF if options.quantize == "none" else QUANTIZED.get(options.quantize, SMALLEST)
    advice = "choose a smaller model"
    if options.quantize == "none":
        advice += ", or smaller weights with --engine.quantize q8_0"
    _check(name, PROCESS + width * num_weights(folder), advice)


def check_training_memory(name: str, folder: Path) -> None:
    """Raise UnsupportedModel where the model does not fit into the free memory for training on a CPU."""
    need = TRAINING + FLOAT32 * num_weights(folder)
    _check(name, need, "choose a smaller model, or serve without the learner: --no-learner")


def _check(name: str, need: float, advice: str) -> None:
    there = available_memory()
    if there is not None and need > there:
        lead = f"the model {name} takes at least {need / 2**30:.1f} GiB of memory, and {there / 2**30:.1f} are free"
        raise UnsupportedModel(f"{lead}; {advice}")
