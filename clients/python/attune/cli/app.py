"""Building and running the command. An error is one line on stderr and status 1; Ctrl-C gives status 130."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

import typer
from typer.models import CommandInfo

import attune
from attune.cli import commands

GROUP = "attune.commands"  # each entry point is a light module's `register(app)`
INTERRUPTED = 130


def build() -> tuple[typer.Typer, list[str]]:
    """Return the command with all installed parts, and a message for each part that is broken and left out."""
    app = typer.Typer(
        name="attune",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(about)
    commands.register(app)
    left_out = [_load(point, app) for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)]
    return app, [message for message in left_out if message]


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(attune.__version__)
        raise typer.Exit


def about(
    version: bool = typer.Option(
        False, "--version", help="Show the version and exit.", is_eager=True, callback=_print_version
    ),
) -> None:
    """Talk to a chat assistant that learns from the people who use it.

    The service is at ATTUNE_BASE_URL (or --url), by default http://127.0.0.1:8000.
    """


def _load(point: EntryPoint, app: typer.Typer) -> str:
    """Add the commands of one installed part; return a message if it is broken, else "". Known names stay."""
    part = typer.Typer()
    try:
        point.load()(part)
    except Exception as error:  # a broken package must not stop the other commands
        return f"the commands of {point.value} are left out: {type(error).__name__}: {_line(error)}"
    known = _names(app)
    app.registered_commands += [command for command in part.registered_commands if _name_of(command) not in known]
    app.registered_groups += [group for group in part.registered_groups if group.name not in known]
    return ""


def _names(app: typer.Typer) -> set[str]:
    return {_name_of(command) for command in app.registered_commands} | {
        str(group.name) for group in app.registered_groups
    }


def _name_of(command: CommandInfo) -> str:
    return command.name or getattr(command.callback, "__name__", "").replace("_", "-")


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit status."""
    app, left_out = build()
    if not arguments or {"-h", "--help"} & set(arguments) or arguments[0] not in _names(app):
        for message in left_out:  # only when the missing command may matter
            print(f"attune: {message}", file=sys.stderr)
    try:
        status = app(arguments, prog_name="attune", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:  # `attune events | head`: the reader closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (attune.AttuneError, OSError, ValueError) as error:
        request_id = error.request_id if isinstance(error, attune.ServerError) else None
        return _fail(_line(error) + (f" (request {request_id})" if request_id else ""))
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's error for a wrong command line
            message = _line(error.format_message())
            end = "" if message.endswith(".") else "."
            return _fail(f"{message}{end} See: {_command_of(error)} --help") if message else 1
        if os.environ.get("ATTUNE_DEBUG"):
            traceback.print_exc()
        return _fail(f"this is a bug in attune, {type(error).__name__}: {_line(error)} (ATTUNE_DEBUG=1 shows where)")


def _command_of(error: object) -> str:
    context = getattr(error, "ctx", None)
    return str(context.command_path) if context is not None else "attune"


def _fail(message: str) -> int:
    print(f"attune: {message}", file=sys.stderr)
    return 1


def _line(error: object) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:  # without Python's "[Errno 2]"
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())
