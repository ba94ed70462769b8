"""`attune versions`, `attune promote` and `attune rollback`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import attune
from attune.cli.options import Json, Key, Url, connect
from attune.cli.printing import feedback_count, plain, print_json, print_table, shortened

Number = Annotated[int, typer.Argument(min=0, help="Number of the version.", show_default=False)]


def list_versions(context: typer.Context, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """List the versions of the model with their records."""
    if context.invoked_subcommand is not None:
        context.obj = {"url": url, "key": key, "as_json": as_json}
        return
    with connect(url, key) as client:
        found = client.versions()
    if as_json:
        print_json(found)
        return
    columns = ("version", "state", "from", "feedback", "answers", "thumbs", "win rate", "95 % interval", "made")
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
    print_table(columns, rows, right=("version", "from", "feedback", "answers", "win rate"))


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


def _print_version(version: attune.Version) -> None:
    run = version.run or {}
    facts: list[tuple[str, Any]] = [
        ("version", version.version),
        ("state", version.state),
        ("made from", version.parent),
        ("by", version.algorithm),
        ("learned from", feedback_count(version.items)),
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


def _value_of(feedback: attune.Feedback) -> str:
    score = f"{feedback.score:g}" if feedback.score is not None else "better than another"
    value = feedback.thumb or feedback.winner or feedback.correction or score
    return shortened(" ".join(value.split()))


def _interval(interval: tuple[float, ...] | None) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}" if interval and len(interval) == 2 else ""
