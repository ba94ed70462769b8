"""The commands that talk to a service, a file for each noun: each makes one call of the SDK and prints the result."""

from __future__ import annotations

import typer

from attune.cli.commands import chat, data_transfer, events, feedback, learner, raters, versions

TALK, OPERATE = "Talk to a service", "Steer a service (needs an admin key if the service has keys)"


def register(app: typer.Typer) -> None:
    """Add the commands to `attune`."""
    app.command(rich_help_panel=TALK)(chat.chat)
    app.command(rich_help_panel=TALK)(feedback.rate)
    app.command(rich_help_panel=TALK)(events.events)
    shown = typer.Typer(help="List the versions of the model, or show one.", invoke_without_command=True)
    shown.callback()(versions.list_versions)
    shown.command("show")(versions.show_version)
    app.add_typer(shown, name="versions", rich_help_panel=TALK)
    for command in (
        versions.promote,
        versions.rollback,
        learner.update,
        raters.raters,
        raters.withdraw,
        raters.erase,
        data_transfer.export,
    ):
        app.command(rich_help_panel=OPERATE)(command)
    app.command("import", rich_help_panel=OPERATE)(data_transfer.import_file)
