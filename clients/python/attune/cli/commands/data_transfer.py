"""`attune export` and `attune import`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, get_args

import typer

from attune._types.data_transfer import ExportFormat, ImportFormat
from attune.cli.options import Json, Key, Url, connect
from attune.cli.printing import print_json
from attune.cli.progress import ProgressBar
from attune.cli.suggestions import one_of

EXPORTS, IMPORTS = ", ".join(get_args(ExportFormat)), ", ".join(get_args(ImportFormat))


def export(
    format: Annotated[str, typer.Option("--format", help=f"One of {EXPORTS}.")] = "preference",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write.", show_default="stdout")] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Write the feedback as JSON Lines. TRL reads the formats preference, unpaired and sft."""
    chosen: ExportFormat = one_of(get_args(ExportFormat), format, "a format") or "preference"
    with connect(url, key, timeout=600.0) as client:
        if out is None:
            client.export_file(sys.stdout.buffer, chosen)
        else:
            with ProgressBar(f"exporting {format}") as report:
                lines = client.export_file(out, chosen, progress=report)
            print(f"{lines} lines in {out}", file=sys.stderr)


def import_file(
    file: Annotated[
        Path,
        typer.Argument(help="JSON Lines as `attune export` writes them, or Open WebUI's feedback.", show_default=False),
    ],
    format: Annotated[
        str | None, typer.Option("--format", help=f"One of {IMPORTS}.", show_default="found in the file")
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Import preferences, ratings or demonstrations from a file."""
    chosen: ImportFormat | None = one_of(get_args(ImportFormat), format, "a format")
    with connect(url, key) as client, ProgressBar(f"importing {file.name}") as report:
        imported = client.import_file(file, chosen, progress=report)
    if as_json:
        print_json(imported)
        return
    here = imported.already_here
    already = f", of which {here} {'was' if here == 1 else 'were'} here already" if here else ""
    print(f"took in {imported.imported}, left out {imported.skipped}{already}")
    for message in imported.errors[:20]:
        print(f"  {message}", file=sys.stderr)
