"""`attune rate`."""

from __future__ import annotations

from typing import Annotated, get_args

import typer

from attune._types.feedback import Reason
from attune.cli import last_answer
from attune.cli.options import Json, Key, Url, connect
from attune.cli.printing import print_json
from attune.cli.suggestions import one_of

REASONS = ", ".join(get_args(Reason))


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
