"""The answer that `attune chat` gave last on this machine, so that `attune rate last up` knows which."""

from __future__ import annotations

import json
import os
from pathlib import Path

import attune


def state_folder() -> Path:
    """Where the command keeps its history (XDG base directories)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "attune"


def remember(reply: attune.Answer) -> None:
    """Keep which answer this is. A home that cannot be written is no reason to fail."""
    try:
        state_folder().mkdir(parents=True, exist_ok=True)
        (state_folder() / "last.json").write_text(json.dumps({"completion_id": reply.id, "choice": reply.choice}))
    except OSError:
        return


def remembered() -> tuple[str, int]:
    """Return the id and choice of the last answer. Raises AttuneError before there is one."""
    try:
        kept = json.loads((state_folder() / "last.json").read_text())
        return str(kept["completion_id"]), int(kept["choice"])
    except (OSError, ValueError, KeyError):
        raise attune.AttuneError(
            "There is no last answer here yet: `attune chat` first, or name the answer by its id."
        ) from None
