"""`attune simulate`: simulated users, then a table and a picture of what the model learned."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from clients.simulated.rounds import Progress
    from clients.simulated.simulation import Outcome, Settings

Share = typer.Option(min=0, max=1)


def register(app: typer.Typer) -> None:
    """Add the simulated users' command to `attune`."""
    app.command(rich_help_panel="Talk to a service")(simulate)


def simulate(
    taste: Annotated[
        str, typer.Option(help="short, long, plain, polite, correct; + mixes, and a comma makes two kinds of users.")
    ] = "short",
    users: Annotated[int, typer.Option(min=1, max=1000, help="Number of users.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, help="Number of questions by each user.")] = 48,
    seed: Annotated[int, typer.Option(help="The same seed gives the same users and questions.")] = 0,
    noisy: Annotated[float, Share] = 0.0,
    lazy: Annotated[float, Share] = 0.0,
    contrarian: Annotated[float, Share] = 0.0,
    prompts: Annotated[int, typer.Option(min=2, help="Number of held-out questions for the measurement.")] = 64,
    samples: Annotated[int, typer.Option(min=1, max=8, help="Answers of each version to each of them.")] = 4,
    wait: Annotated[float, typer.Option(min=0, help="Longest wait for the learner at the end, in seconds.")] = 300.0,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Never wait for the learner.")] = False,
    png: Annotated[Path | None, typer.Option(help="File for the picture.", show_default="simulation-TASTE.png")] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url", envvar="ATTUNE_BASE_URL", help="Address of the service.", show_default="http://127.0.0.1:8000"
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", envvar="ATTUNE_API_KEY", help="API key with the scope act-as.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Let simulated users chat and give feedback by a taste, then measure every version against version 0."""
    import asyncio

    from clients.simulated.curve import draw_curve
    from clients.simulated.errors import SimulatedError
    from clients.simulated.simulation import Settings

    settings = Settings(
        taste, users, rounds, seed, noisy, lazy, contrarian, None if no_wait else wait, prompts, samples
    )
    path = png or Path(f"simulation-{''.join(c if c.isalnum() else '-' for c in taste)}.png")
    try:
        with Screen(settings) as screen:
            outcome = asyncio.run(_run(settings, url, key, screen))
    except SimulatedError as error:
        print(f"attune: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    draw_curve(outcome.points, f"{users} simulated users who like it {taste} (seed {seed})", path)
    _print(outcome, path, as_json=as_json)


async def _run(settings: "Settings", url: str | None, key: str | None, screen: "Screen") -> "Outcome":
    from clients.simulated.simulation import simulate as run

    return await run(settings, url, key, screen.on_round, screen.on_measure)


class Screen:
    """Progress bars on stderr, and a line for each new version; only the lines where stderr is no terminal."""

    def __init__(self, settings: "Settings") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description:9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[status]}"),
        )
        self._bars = Bars(*columns, console=Console(stderr=True, highlight=False))
        self._rounds = self._bars.add_task("talking", total=settings.rounds, status="")
        self._measured = self._bars.add_task("measuring", total=None, status="", visible=False)
        self._live: int | None = None

    def __enter__(self) -> "Screen":
        if sys.stderr.isatty():
            self._bars.start()
        return self

    def __exit__(self, *raised: object) -> None:
        if sys.stderr.isatty():
            self._bars.stop()

    def on_round(self, progress: "Progress") -> None:
        """Show the rounds done and the state of the learner."""
        if self._live is not None and progress.live != self._live:
            message = f"version {progress.live} is live, after {progress.num_feedback} feedback"
            self._bars.console.print(message, markup=False)
        self._live = progress.live
        status = f"live: version {progress.live}; learner {progress.learner}, {progress.waiting} waiting"
        self._bars.update(self._rounds, completed=progress.rounds_done, status=status)

    def on_measure(self, done: int, total: int) -> None:
        """Show the progress of the measurement."""
        self._bars.update(self._measured, completed=done, total=total, visible=True)


def _print(outcome: "Outcome", path: Path, *, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        fields = {"said" if name == "feedback_given" else name: value for name, value in asdict(outcome).items()}
        print(json.dumps({**fields, "png": str(path)}, ensure_ascii=False))  # programs read the key "said"
        return
    from attune.cli.printing import print_table

    columns = ("version", "state", "feedback", "win rate", "95 % interval", "length", "taste", "right")
    rows = [
        (
            point.version,
            point.state,
            point.items,
            f"{point.win_rate:.3f}",
            f"{point.interval[0]:.3f} to {point.interval[1]:.3f}",
            f"{point.mean_length:.1f}",
            f"{point.mean_taste:.2f}",
            f"{point.right:.0%}",
        )
        for point in outcome.points
    ]
    print_table(columns, rows, right=("version", "feedback", "win rate", "length", "taste", "right"))
    counts = ", ".join(f"{count} {kind}s" for kind, count in sorted(outcome.feedback_given.items()))
    settings = outcome.settings
    print(f"\nFeedback of {settings.users} users in {outcome.seconds:.0f} s: {counts}.")
    print("Win rates are against version 0, by the users' taste,")
    print(f"on {settings.samples} answers to each of {settings.prompts} held-out questions. The curve: {path}")
    if not outcome.settled:
        print("The learner was still at work when the wait ended (--wait).", file=sys.stderr)
