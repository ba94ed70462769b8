"""Each run's numbers as TensorBoard event files: `tensorboard --logdir DATA/logs/runs`."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


class TensorBoardLog:
    """Writes one run's metrics as they come. A full disk or a missing library costs the curves, never the run."""

    def __init__(self, folder: Path) -> None:
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder), flush_secs=5)
        except Exception as error:
            log.warning("no TensorBoard files for this run: %s", error)

    def add(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Add the finite ones of these metrics at a step."""
        if self._writer is None:
            return
        try:
            for name, value in metrics.items():
                if value is not None and math.isfinite(value):
                    self._writer.add_scalar(name, value, step)
        except OSError as error:
            log.warning("the TensorBoard files of this run end here: %s", error)
            self._writer = None

    def close(self) -> None:
        """Write what is buffered."""
        if self._writer is not None:
            self._writer.close()
