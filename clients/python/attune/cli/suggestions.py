"""Checks of a typed value against the known ones, with a suggestion for a typing error."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import typer


def one_of(known: Sequence[str], value: str | None, what: str) -> Any:
    """Return `value` if it is known or None. Raises typer.BadParameter with a suggestion."""
    if value is None or value in known:
        return value
    similar = get_close_matches(value, known, 1)
    hint = f"did you mean {similar[0]}?" if similar else f"choose from {', '.join(known)}"
    raise typer.BadParameter(f"{value!r} is not {what}; {hint}")
