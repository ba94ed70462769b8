"""The commands that talk to a service: each makes one call of the SDK and prints the result."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

import attune
from attune._types.data_transfer import ExportFormat, ImportFormat, Progress
from attune._types.feedback import Reason
from attune.cli import last_answer
from attune.cli.options import Json, Key, Url, connect
from attune.cli.printing import plain, print_json, print_table
from attune.cli.suggestions import one_of

Number = Annotated[int, typer.Argument(min=0, help="Number of the version.", show_default=False)]
TALK, OPERATE = "Talk to a service", "Steer a service (needs an admin key if the service has keys)"
EXPORTS, IMPORTS, REASONS = (
    ", ".join(get_args(ExportFormat)),
    ", ".join(get_args(ImportFormat)),
    ", ".join(get_args(Reason)),
)


def register(app: typer.Typer) -> None:
    """Add the commands to `attune`."""
    from attune.cli.chat import chat

    app.command(rich_help_panel=TALK)(chat)
    app.command(rich_help_panel=TALK)(rate)
    app.command(rich_help_panel=TALK)(events)
    shown = typer.Typer(help="List the versions of the model, or show one.", invoke_without_command=True)
    shown.callback()(versions)
    shown.command("show")(show_version)
    app.add_typer(shown, name="versions", rich_help_panel=TALK)
    for command in (promote, rollback, update, raters, erase, export):
        app.command(rich_help_panel=OPERATE)(command)
    app.command("import", rich_help_panel=OPERATE)(import_)


def rate(
    completion: Annotated[
        str,
        typer.Argument(help='The answer\'s id, or "last" for the last answer of `attune chat`.', show_default=False),
    ],
    thumb: Annotated[str | None, typer.Argument(help="up or down.", show_default=False)] = None,
    score: Annotated[
        float | None, typer.Option(min=0, max=1, help="A score instead of a thumb.", show_default=False)
    ] = None,
    correction: Annotated[
        str | None, typer.Option(help="A better answer, instead of a thumb.", show_default=False)
    ] = None,
    choice: Annotated[int, typer.Option(min=0, help="Index of the answer, if there are several.")] = 0,
    reason: Annotated[str | None, typer.Option(help=f"One of {REASONS}.", show_default=False)] = None,
    comment: Annotated[str | None, typer.Option(help="A comment in your own words.", show_default=False)] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Give feedback on an answer: a thumb, a score or a correction."""
    if sum(value is not None for value in (thumb, score, correction)) != 1:
        raise typer.BadParameter("give exactly one thing: up or down, --score, or --correction")
    completion_id, kept_choice = last_answer.remembered() if completion == "last" else (completion, choice)
    with connect(url, key) as client:
        feedback = client.feedback(
            completion_id,
            choice=kept_choice,
            thumb=one_of(("up", "down"), thumb, "a thumb"),
            score=score,
            correction=correction,
            reason=one_of(get_args(Reason), reason, "a reason"),
            comment=comment,
        )
    print_json(feedback) if as_json else print(f"{feedback.id}: thank you")


def versions(context: typer.Context, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """List the versions of the model with their records."""
    if context.invoked_subcommand is not None:
        context.obj = {"url": url, "key": key, "as_json": as_json}
        return
    with connect(url, key) as client:
        found = client.versions()
    if as_json:
        print_json(found)
        return
    columns = ("version", "state", "from", "items", "answers", "thumbs", "win rate", "95 % interval", "made")
    rows = [
        (
            version.version,
            version.state + (f" {version.share:.0%}" if version.state == "canary" else ""),
            version.parent,
            version.items,
            version.answers,
            f"{version.thumbs.up} up {version.thumbs.down} down",
            version.win_rate,
            _interval(version.win_rate_interval),
            version.created_at[:19].replace("T", " "),
        )
        for version in found
    ]
    print_table(columns, rows, right=("version", "from", "items", "answers", "win rate"))


def show_version(
    context: typer.Context,
    number: Number,
    feedback: Annotated[
        bool, typer.Option("--feedback", help="Also list the feedback that made it (needs an admin key).")
    ] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Show one version: its record, the gate's report, and the run that made it."""
    before = context.obj or {}  # `attune versions --url U show 3` means the same as `attune versions show 3 --url U`
    with connect(url or before.get("url"), key or before.get("key")) as client:
        version = client.version(number)
        made_by = list(client.version_feedback(number)) if feedback else []
    if as_json or before.get("as_json"):
        print_json({**plain(version), **({"feedback": made_by} if feedback else {})})
        return
    _print_version(version)
    if feedback:
        print()
        print_table(
            ("feedback", "kind", "rater", "answer", "value"),
            [(one.id, one.kind, one.rater, one.completion_id, _value_of(one)) for one in made_by],
        )


def _value_of(feedback: attune.Feedback) -> str:
    score = f"{feedback.score:g}" if feedback.score is not None else "better than another"
    value = feedback.thumb or feedback.winner or feedback.correction or score
    return _short(" ".join(value.split()))


def _print_version(version: attune.Version) -> None:
    run = version.run or {}
    facts: list[tuple[str, Any]] = [
        ("version", version.version),
        ("state", version.state),
        ("made from", version.parent),
        ("by", version.algorithm),
        ("of feedback", f"{version.items} items"),
        ("digest", version.digest),
        ("made at", version.created_at),
        ("live at", version.live_at),
        ("answers", version.answers),
        ("thumbs", f"{version.thumbs.up} up, {version.thumbs.down} down"),
        (
            "comparisons",
            f"{version.comparisons.wins} won, {version.comparisons.losses} lost, {version.comparisons.ties} tied",
        ),
        (
            "win rate",
            f"{version.win_rate:.3f} ({_interval(version.win_rate_interval)})"
            if version.win_rate is not None
            else None,
        ),
        ("seed", run.get("seed")),
    ]
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        if value not in (None, ""):
            print(f"{name:{width}}  {value}")
    if version.gate is not None:
        print(f"\nThe gate {'let it pass' if version.gate.passed else 'rejected it'}.")
        for reason in version.gate.reasons:
            print(f"  {reason}")
        checks = [
            (check.name, check.value, check.limit, "yes" if check.passed else "no") for check in version.gate.checks
        ]
        if checks:
            print_table(("check", "value", "limit", "passed"), checks, right=("value", "limit"))


def promote(
    number: Number,
    canary: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of the traffic for a trial; 0 ends it.", show_default=False),
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Make a version live."""
    with connect(url, key) as client:
        version = client.promote(number, canary=canary)
    print_json(version) if as_json else print(f"version {version.version} is {version.state}")


def rollback(
    number: Annotated[
        int | None,
        typer.Argument(min=0, help="Number of the version; default: the last good one.", show_default=False),
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Go back to an older version."""
    with connect(url, key) as client:
        version = client.rollback(number)
    print_json(version) if as_json else print(f"version {version.version} is {version.state}")


def update(url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Start an update now, with the feedback that is waiting."""
    with connect(url, key) as client:
        learner = client.update()
    if as_json:
        print_json(learner)
    else:
        print(f"the learner is {learner.state}; {learner.waiting} items wait; `attune events` shows the progress")


def events(
    after: Annotated[
        int | None, typer.Option(min=0, help="Start after this event; 0 is the first.", show_default="new ones only")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many.", show_default="never")] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Follow the service's events until Ctrl-C."""
    with connect(url, key) as client, client.events(after) as stream:
        for seen, event in enumerate(stream, 1):
            if as_json:
                print_json(event)
            else:
                details = " ".join(f"{name}={_short(value)}" for name, value in event.data.items())
                print(f"{event.seq:>6}  {event.kind:20}  {details}".rstrip(), flush=True)
            if seen == count:
                break


def raters(url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """List the people who give feedback, with the learner's trust in them."""
    with connect(url, key) as client:
        found = client.raters()
    if as_json:
        print_json(found)
        return
    rows = [
        (
            rater.id,
            rater.feedback,
            f"{rater.thumbs.up} up {rater.thumbs.down} down",
            rater.choices,
            rater.agreement,
            rater.trust,
            "quarantined" + (f": {rater.quarantine_reason}" if rater.quarantine_reason else "")
            if rater.quarantined
            else "",
        )
        for rater in found
    ]
    print_table(
        ("rater", "feedback", "thumbs", "choices", "agreement", "trust", ""),
        rows,
        right=("feedback", "choices", "agreement", "trust"),
    )


def erase(
    rater: Annotated[str, typer.Argument(help="The rater's id, as `attune raters` lists it.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Erase a person: their conversations and feedback, and the versions that learned from them."""
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("erasing cannot be undone; outside a terminal it needs --yes")
        typer.confirm(f"Erase everything of {rater}, and every version that learned from it?", abort=True)
    with connect(url, key) as client:
        erased = client.erase(rater)
    if as_json:
        print_json(erased)
    else:
        gone = f"; withdrawn versions: {', '.join(map(str, erased.versions))}" if erased.versions else ""
        counts = f"{erased.feedback} feedback, {erased.completions} answers, {erased.conversations} conversations"
        print(f"erased {rater}: {counts}{gone}")


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
            with _progress(f"exporting {format}") as report:
                lines = client.export_file(out, chosen, progress=report)
            print(f"{lines} lines in {out}", file=sys.stderr)


def import_(
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
    with connect(url, key) as client, _progress(f"importing {file.name}") as report:
        imported = client.import_file(file, chosen, progress=report)
    if as_json:
        print_json(imported)
        return
    here = imported.already_here
    already = f", of which {here} {'was' if here == 1 else 'were'} here already" if here else ""
    print(f"took in {imported.imported}, left out {imported.skipped}{already}")
    for message in imported.errors[:20]:
        print(f"  {message}", file=sys.stderr)


class _progress:
    """A progress bar on stderr, if that is a terminal."""

    def __init__(self, what: str) -> None:
        from rich import progress
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self._bar = progress.Progress(
            *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
        )
        self._task = self._bar.add_task(what, total=None)

    def __enter__(self) -> Progress:
        self._bar.start()
        return lambda done, total: self._bar.update(self._task, completed=done, total=total)

    def __exit__(self, *raised: object) -> None:
        self._bar.stop()


def _interval(interval: tuple[float, ...] | None) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}" if interval and len(interval) == 2 else ""


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
