"""The learner's part of the command line. Light: torch is loaded by the process that learns."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def register(app: typer.Typer) -> None:
    """Add `attune learn`, `attune train` and `attune reward`."""

    @app.command(context_settings=_PASS_ON)
    def learn(context: typer.Context, arguments: Annotated[list[str] | None, typer.Argument(hidden=True)] = None) -> None:
        """Run the learner alone, for instance on the machine with the GPU; `attune learn --help` lists its settings."""
        from learner.__main__ import main

        raise typer.Exit(main([*(arguments or []), *context.args]))

    @app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
    def train(
        context: typer.Context,
        data: Annotated[Path, typer.Option(help="JSON Lines: TRL's preference, unpaired or SFT form.")],
        out: Annotated[Path, typer.Option(help="New folder for the version.")],
        model: Annotated[str | None, typer.Option(help="Base model: a bundled name, a folder, or a hub id.")] = None,
        config: _Config = None,
    ) -> None:
        """Train on a file, without a service, to a version folder. Every setting of `attune learn` is a flag here too (--algorithm, --steps, ...).

        Where nothing else is said, steps is 10000, passes 2, replay 0 and max_items 1000000: two passes over the file.
        """
        raise typer.Exit(_train(data, out, {"model": model}, config, list(context.args)))

    app.add_typer(_reward_commands(), name="reward")


_Data = Annotated[Path | None, typer.Option(help="Data folder.")]
_Model = Annotated[str | None, typer.Option(help="Base model: a bundled name, a folder, or a hub id.")]
_Config = Annotated[Path | None, typer.Option(help=r"TOML file with a \[learner] table.")]
_JsonLines = Annotated[Path | None, typer.Option(help="JSON Lines: TRL's preference or unpaired form.")]


def _reward_commands() -> typer.Typer:
    reward = typer.Typer(help="The reward model: what people would say of a reply.", no_args_is_help=True)
    more = {"allow_extra_args": True, "ignore_unknown_options": True}

    @reward.command(context_settings=more)
    def train(context: typer.Context, data: _Data = None, model: _Model = None, config: _Config = None, file: _JsonLines = None) -> None:
        """Train one on all feedback of the data folder, or on a file; every setting of `attune learn` is a flag here too."""
        _reward(lambda judging, settings: [judging.train_reward_model(settings, file)], {"data": data, "model": model}, config, context.args)

    @reward.command(context_settings=more)
    def evaluate(
        context: typer.Context, file: Annotated[Path, typer.Argument()], data: _Data = None, model: _Model = None, config: _Config = None
    ) -> None:
        """Measure the newest one on a file's judgements."""
        _reward(lambda judging, settings: [judging.measure_reward_model(settings, file)], {"data": data, "model": model}, config, context.args)

    @reward.command(context_settings=more)
    def score(
        context: typer.Context,
        prompt: Annotated[str, typer.Option(help="What was asked.")],
        reply: Annotated[list[str], typer.Option(help="A reply; give several to compare them.")],
        data: _Data = None,
        model: _Model = None,
        config: _Config = None,
    ) -> None:
        """Say what the newest one thinks of replies, and how sure it is: JSON, one line per reply."""
        asked = [(prompt, text) for text in reply]
        _reward(lambda judging, settings: judging.scores_of(settings, asked), {"data": data, "model": model}, config, context.args)

    return reward


def _reward(ask: Callable[[Any, Any], list[dict[str, Any]]], flags: dict[str, Any], config: Path | None, more: list[str]) -> None:
    import json

    from learner.__main__ import flags_of, one_line_errors, prepare_process
    from learner.settings import load_settings
    from policy.model import resolve_model

    with one_line_errors() as status:
        settings = load_settings(flags_of(more) | flags, config)
        resolve_model(settings.model)
        prepare_process(settings)
        from learner import judging

        for line in ask(judging, settings):
            print(json.dumps(line))
    raise typer.Exit(status.code)


def _train(data: Path, out: Path, flags: dict[str, Any], config: Path | None, more: list[str]) -> int:
    from learner.__main__ import flags_of, one_line_errors
    from learner.settings import OFFLINE, load_settings

    with one_line_errors() as status:
        settings = load_settings(flags_of(more) | flags, config, OFFLINE)
        _run_training(data, out, settings)
    return status.code


def _run_training(data: Path, out: Path, settings: Any) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from learner.__main__ import check_file, prepare_process
    from policy.model import resolve_model

    check_file(data)
    resolve_model(settings.model)
    prepare_process(settings)
    from learner import ranks
    from learner.offline import train_file

    console = Console(stderr=True)
    with ranks.joined(settings.device), Progress(console=console, disable=not sys.stderr.isatty()) as progress:
        console.quiet = not ranks.is_first()
        task = progress.add_task("reading", total=None)

        def phase(name: str, step: int, steps: int, loss: float | None, metrics: dict[str, float]) -> None:
            said = f"{name}, loss {loss:.3f}" if loss is not None else name
            progress.update(task, description=said, completed=step, total=steps or None)

        manifest, result = train_file(data, out, settings, phase, opened=lambda form, count, left_out: console.print(
            f"{count} examples in the {form} form" + (f"; left out: {left_out}" if any(left_out) else "")
        ))  # fmt: skip
    stopped = f", stopped early: {result.trained.stopped}" if result.trained.stopped else ""
    console.print(f"{result.trained.steps} steps in {result.trained.metrics['seconds']:.1f} s{stopped}")
    for reason in result.report["reasons"]:
        console.print(f"the gate would not pass it: {reason}")
    if not console.quiet:
        print(f"{out} {manifest.digest}")
