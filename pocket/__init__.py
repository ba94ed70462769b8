"""The bundled chat model: its skills with checkers, the corpus they generate, the training command, the weights.

`import pocket` needs no torch; the training and evaluation modules do.
"""

from __future__ import annotations

from pathlib import Path

from pocket.errors import UnknownWeights

WEIGHTS = ("pocket", "pocket-nano")


def weights_folder(name: str = "pocket") -> Path:
    """The Hugging Face folder of bundled weights. Raises UnknownWeights for any other name."""
    folder = Path(__file__).parent / "weights" / name
    if name not in WEIGHTS or not (folder / "config.json").is_file():
        raise UnknownWeights(f"no bundled model called {name!r}; there are {', '.join(WEIGHTS)}")
    return folder


__all__ = ["WEIGHTS", "UnknownWeights", "weights_folder"]
