"""Words that people type, checked against those that are known."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import typer


def one_of(known: Sequence[str], said: str | None, what: str) -> Any:
    """Return `said` if it is known (None stays None). Raises typer.BadParameter with the likeliest word that was meant."""
    if said is None or said in known:
        return said
    meant = get_close_matches(said, known, 1)
    hint = f"did you mean {meant[0]}?" if meant else f"choose from {', '.join(known)}"
    raise typer.BadParameter(f"{said!r} is not {what}; {hint}")
