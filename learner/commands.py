"""The learner's part of the command line. Light: torch is loaded by the process that learns."""

from typing import Annotated

import typer

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def register(app: typer.Typer) -> None:
    """Add `attune learn`."""

    @app.command(context_settings=_PASS_ON)
    def learn(context: typer.Context, arguments: Annotated[list[str] | None, typer.Argument(hidden=True)] = None) -> None:
        """Run the learner alone, for instance on the machine with the GPU; `attune learn --help` lists its settings."""
        from learner.__main__ import main

        raise typer.Exit(main([*(arguments or []), *context.args]))
