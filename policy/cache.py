"""The folder for what can be made or fetched again: weights read from GGUF files, fetched models, digests."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of Attune's cache: `$XDG_CACHE_HOME/attune`, by default ~/.cache/attune."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attune"
