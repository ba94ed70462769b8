"""The id of the last answer of `attune chat` on this machine, for `attune rate last up`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import attune


def state_folder() -> Path:
    """Return the folder of the command's history (XDG base directories)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "attune"


def remember(answer: attune.Answer) -> None:
    """Save the id and choice of an answer, if the folder can be written."""
    try:
        state_folder().mkdir(parents=True, exist_ok=True)
        (state_folder() / "last.json").write_text(json.dumps({"completion_id": answer.id, "choice": answer.choice}))
    except OSError:
        return


def remembered() -> tuple[str, int]:
    """Return the id and choice of the last answer. Raises AttuneError when there is none."""
    try:
        kept = json.loads((state_folder() / "last.json").read_text())
        return str(kept["completion_id"]), int(kept["choice"])
    except (OSError, ValueError, KeyError):
        raise attune.AttuneError(
            "There is no last answer on this machine: run `attune chat` first, or give the answer's id."
        ) from None
