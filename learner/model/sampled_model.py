"""What samplers know of the model in memory."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch

from learner.settings import LearnerSettings


class SampledModel(Protocol):
    """The resident model, as samplers see it: see `Resident`."""

    settings: LearnerSettings
    folder: Path
    model: Any
    device: torch.device
    num_parameters: int
    base_digest: str
    parent_digest: str
    is_base: bool
    origin: tuple[str, Path | None]

    def check(self) -> None:
        """Raise what ends the work under way, such as a stop."""

    def weights_digest(self) -> str:
        """Return the sha256 of the trainable weights as they are now."""

    def save(self, folder: Path) -> None:
        """Write the weights as they are now."""

    def autocast(self) -> AbstractContextManager[Any]:
        """What forward passes run under."""
