"""Printing results: tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def plain(value: Any) -> Any:
    """Return records as JSON values, without private fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            known.name: plain(getattr(value, known.name))
            for known in dataclasses.fields(value)
            if not known.name.startswith("_")
        }
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return value


def feedback_count(count: int) -> str:
    """Return a number of feedback rows as people read it.

    >>> feedback_count(1), feedback_count(16)
    ('1 piece of feedback', '16 pieces of feedback')
    """
    return f"{count} piece of feedback" if count == 1 else f"{count} pieces of feedback"


def print_json(value: Any) -> None:
    """Print one JSON value on one line."""
    print(json.dumps(plain(value), ensure_ascii=False), flush=True)


def console() -> Console:
    """Return a console on stdout."""
    from rich.console import Console

    return Console(highlight=False)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Iterable[str] = ()) -> None:
    """Print a table; without a terminal, print plain lines in full, with two spaces between columns."""
    texts = [[_text(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        widths = [max(len(line[i]) for line in [list(columns), *texts]) for i in range(len(columns))]
        for line in [list(columns), *texts]:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", no_wrap=True)
    for line in texts:
        table.add_row(*(Text(cell) for cell in line))
    console().print(table)


def _text(cell: Any) -> str:
    return "" if cell is None else f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def shortened(value: Any) -> str:
    """Return a value as text of at most 80 characters."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
