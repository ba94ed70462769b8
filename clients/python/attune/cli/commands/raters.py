"""`attune raters`, `attune withdraw` and `attune erase`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from attune.cli.options import Json, Key, Url, connect
from attune.cli.printing import print_json, print_table


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
    for rater in found:
        if (proposal := rater.proposal) is not None:
            numbers = ", ".join(map(str, proposal.withdraw))
            lead = f"{rater.id} is not trusted ({rater.trust:.2f}), and versions {numbers} learned from that feedback"
            print(f"{lead}: `attune withdraw {rater.id}` makes version {proposal.live} live")


def withdraw(
    rater: Annotated[str, typer.Argument(help="The rater's id, as `attune raters` lists it.", show_default=False)],
    reason: Annotated[str | None, typer.Option(help="Why, for the record.", show_default=False)] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Withdraw every version that learned from a rater, and keep the rater's feedback out of learning."""
    _confirm(f"Withdraw every version that learned from {rater}?", yes=yes)
    with connect(url, key) as client:
        done = client.withdraw(rater, reason=reason)
    if as_json:
        print_json(done)
    else:
        gone = ", ".join(map(str, done.versions)) or "none"
        print(f"withdrawn versions: {gone}; version {done.live} is live, and {rater} is in quarantine")


def erase(
    rater: Annotated[str, typer.Argument(help="The rater's id, as `attune raters` lists it.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Erase a person: their conversations and feedback, and the versions that learned from them."""
    _confirm(f"Erase everything of {rater}, and every version that learned from it?", yes=yes)
    with connect(url, key) as client:
        erased = client.erase(rater)
    if as_json:
        print_json(erased)
    else:
        gone = f"; withdrawn versions: {', '.join(map(str, erased.versions))}" if erased.versions else ""
        counts = f"{erased.feedback} feedback, {erased.completions} answers, {erased.conversations} conversations"
        print(f"erased {rater}: {counts}{gone}")
        if not erased.rewritten:
            print("the database still holds deleted rows: the service's log says why", file=sys.stderr)


def _confirm(question: str, *, yes: bool) -> None:
    """Ask before weights or rows go. Raises typer.Abort for a no, typer.BadParameter where nobody can answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("outside a terminal it needs --yes")
    typer.confirm(question, abort=True)
