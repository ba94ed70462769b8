"""Exports and imports of feedback: formats, progress and counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

ExportFormat = Literal["preference", "unpaired", "sft", "raw"]
ImportFormat = Literal["preference", "unpaired", "sft", "raw", "open-webui"]
Progress = Callable[[int, "int | None"], None]


@dataclass(frozen=True)
class Imported:
    """Counts of an import. Of the `skipped` rows, `already_here` were imported before; `errors` explain the others.

    >>> import pathlib
    >>> file = pathlib.Path("pairs.jsonl")
    >>> _ = file.write_text('{"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}\\n')
    >>> client.import_file(file).imported
    1
    """

    imported: int = 0
    skipped: int = 0
    errors: tuple[str, ...] = ()
    already_here: int = 0
