"""The bundled chat models: skills with checkers, the corpus that they generate, the training, the weights.

`import pocket` needs no torch; the training and evaluation modules do.
"""

from __future__ import annotations

from pathlib import Path

from pocket.errors import UnknownWeights

WEIGHTS = ("pocket", "pocket-nano")
_ROOT = Path(__file__).parent / "weights"


def weights_folder(name: str = "pocket") -> Path:
    """Return the Hugging Face folder of bundled weights. Raises UnknownWeights for any other name."""
    folder = _ROOT / name
    if name not in WEIGHTS or not (folder / "config.json").is_file():
        raise UnknownWeights(f"no bundled model called {name!r}; there are {', '.join(WEIGHTS)}")
    return folder


def model_folders() -> dict[str, Path]:
    """Return the folders of the bundled models by name: this room's entry point in the group `attune.models`."""
    return {name: _ROOT / name for name in WEIGHTS if (_ROOT / name).is_dir()}


__all__ = ["WEIGHTS", "UnknownWeights", "model_folders", "weights_folder"]
