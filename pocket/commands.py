"""The bundled model's part of the command line. Heavy modules are imported when a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
_Rest = Annotated[list[str] | None, typer.Argument(hidden=True)]


def register(app: typer.Typer) -> None:
    """Add `attune pocket train | eval | chats | samples | report`."""
    pocket = typer.Typer(help="The bundled model: train it, measure it, read its answers.", no_args_is_help=True)
    app.add_typer(pocket, name="pocket")

    @pocket.command(context_settings=_PASS_ON)
    def train(context: typer.Context, arguments: _Rest = None) -> None:
        """Train a bundled model from scratch; `attune pocket train --help` lists the options."""
        from pocket.train import main

        main([*(arguments or []), *context.args])

    @pocket.command("eval", context_settings=_PASS_ON)
    def evaluate(context: typer.Context, arguments: _Rest = None) -> None:
        """Print accuracy and style of a model by skill and language."""
        from pocket.evaluate import main

        main([*(arguments or []), *context.args])

    @pocket.command(context_settings=_PASS_ON)
    def samples(context: typer.Context, arguments: _Rest = None) -> None:
        """Print greedy answers to held-out prompts, the wrong ones marked."""
        from pocket.samples import main

        main([*(arguments or []), *context.args])

    @pocket.command(context_settings=_PASS_ON)
    def chats(context: typer.Context, arguments: _Rest = None) -> None:
        """Print how a model holds a conversation, follows up and calls functions."""
        from pocket.chats import main

        main([*(arguments or []), *context.args])

    @pocket.command(context_settings=_PASS_ON)
    def report(context: typer.Context, arguments: _Rest = None) -> None:
        """Measure all of a bundled model, and write its numbers and its card into its folder."""
        from pocket.report import main

        main([*(arguments or []), *context.args])
