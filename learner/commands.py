"""The learner's part of the command line. Light: torch is loaded by the process that learns."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Annotated, Any

import typer

TERMINATED = 128 + signal.SIGTERM
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def register(app: typer.Typer) -> None:
    """Add `attune learn`, `attune train` and `attune reward`."""

    @app.command(context_settings=_PASS_ON)
    def learn(
        context: typer.Context, arguments: Annotated[list[str] | None, typer.Argument(hidden=True)] = None
    ) -> None:
        """Run the learner alone, for instance on the machine with the GPU; `attune learn --help` lists its settings."""
        from learner.__main__ import main

        raise typer.Exit(main([*(arguments or []), *context.args]))

    @app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
    def train(
        context: typer.Context,
        data: Annotated[Path, typer.Option(help="JSON Lines: TRL's preference, unpaired or SFT form, as above.")],
        out: Annotated[Path, typer.Option(help="New or empty folder for the version.")],
        model: Annotated[str | None, typer.Option(help="Base model: a bundled name, a folder, or a hub id.")] = None,
        config: _Config = None,
    ) -> None:
        """Train on a file, without a service, to a version folder.

        Every setting of `attune learn` is a flag here too (--algorithm, --steps, ...). By default steps is 10000,
        passes 2, replay 0 and max_examples 1000000: two passes over the file.

        Each line of the file is one of these, throughout:

        \b
        {"prompt": ..., "chosen": ..., "rejected": ...}
        {"chosen": ..., "rejected": ...}, where both begin with the prompt
        {"prompt": ..., "completion": ..., "label": true or false}
        {"prompt": ..., "completion": ...}
        {"messages": [..., {"role": "assistant", "content": ...}]}

        Prompts are text or lists of messages, answers text or one message of the assistant. Ctrl-C ends the training,
        and nothing is written.
        """
        raise typer.Exit(_train(data, out, {"model": model}, config, list(context.args)))

    app.add_typer(_reward_commands(), name="reward")


_Data = Annotated[Path | None, typer.Option(help="Data folder.")]
_Model = Annotated[str | None, typer.Option(help="Base model: a bundled name, a folder, or a hub id.")]
_Config = Annotated[Path | None, typer.Option(help=r"TOML file with a \[learner] table.")]
_JsonLines = Annotated[Path | None, typer.Option(help="JSON Lines: TRL's preference or unpaired form.")]


def _reward_commands() -> typer.Typer:
    reward = typer.Typer(help="The reward model: how people would rate an answer.", no_args_is_help=True)
    more = {"allow_extra_args": True, "ignore_unknown_options": True}

    @reward.command(context_settings=more)
    def train(
        context: typer.Context,
        data: _Data = None,
        model: _Model = None,
        config: _Config = None,
        file: _JsonLines = None,
    ) -> None:
        """Train one on the data folder's feedback, or on a file; every setting of `attune learn` is a flag here too."""
        _reward(
            lambda standalone, settings: [standalone.train_reward_model(settings, file)],
            {"data": data, "model": model},
            config,
            context.args,
        )

    @reward.command(context_settings=more)
    def evaluate(
        context: typer.Context,
        file: Annotated[Path, typer.Argument()],
        data: _Data = None,
        model: _Model = None,
        config: _Config = None,
    ) -> None:
        """Measure the newest one on a file's feedback."""
        _reward(
            lambda standalone, settings: [standalone.measure_reward_model(settings, file)],
            {"data": data, "model": model},
            config,
            context.args,
        )

    @reward.command(context_settings=more)
    def score(
        context: typer.Context,
        prompt: Annotated[str, typer.Option(help="What was asked.")],
        answers: Annotated[list[str], typer.Option("--reply", help="An answer; give several to compare them.")],
        data: _Data = None,
        model: _Model = None,
        config: _Config = None,
    ) -> None:
        """Print the newest one's scores of answers and their uncertainty: JSON, one line per answer."""
        asked = [(prompt, text) for text in answers]
        _reward(
            lambda standalone, settings: standalone.scores_of(settings, asked),
            {"data": data, "model": model},
            config,
            context.args,
        )

    return reward


def _reward(
    ask: Callable[[Any, Any], list[dict[str, Any]]], flags: dict[str, Any], config: Path | None, more: list[str]
) -> None:
    import json

    from learner.__main__ import settings_of_flags
    from learner.process_start import one_line_errors, prepare_process, with_model
    from learner.settings import load_settings

    with one_line_errors() as status:
        settings = load_settings(settings_of_flags(more) | flags, config)
        settings = with_model(settings)
        prepare_process(settings)
        from learner.reward_model import standalone

        for line in ask(standalone, settings):
            print(json.dumps(line))
    raise typer.Exit(status.code)


def _train(data: Path, out: Path, flags: dict[str, Any], config: Path | None, more: list[str]) -> int:
    from learner.__main__ import INTERRUPTED, settings_of_flags
    from learner.process_start import one_line_errors
    from learner.settings import OFFLINE, load_settings
    from policy.versions import MANIFEST

    was_there = (out / MANIFEST).is_file()
    try:
        with _terminable(), one_line_errors() as status:
            settings = load_settings(settings_of_flags(more) | flags, config, OFFLINE)
            _run_training(data, out, settings)
    except (KeyboardInterrupt, Terminated) as signalled:
        if os.environ.get("RANK", "0") == "0":  # of several processes all get the signal
            done = (out / MANIFEST).is_file() and not was_there
            print(f"interrupted; {'the version was written' if done else 'nothing was written'}", file=sys.stderr)
        return INTERRUPTED if isinstance(signalled, KeyboardInterrupt) else TERMINATED
    return status.code


class Terminated(BaseException):
    """The process got SIGTERM."""


@contextlib.contextmanager
def _terminable() -> Generator[None, None, None]:
    """Let SIGTERM raise Terminated, so that temporary folders are removed. A second one does not interrupt that."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run_training(data: Path, out: Path, settings: Any) -> None:
    from learner.process_start import check_file, prepare_process
    from learner.training_summary import summary_of
    from learner.training_terminal import Terminal
    from policy.model import resolved_name

    check_file(data)
    settings = settings.model_copy(update={"model": resolved_name(settings.model)})
    prepare_process(settings)
    with Terminal() as terminal:
        from learner.model import distributed
        from learner.offline import train_file

        with distributed.joined(settings.device):
            is_first = distributed.is_first()
            if not is_first:
                terminal.quiet()
            manifest, result = train_file(data, out, settings, terminal.phase, opened=terminal.opened)
    for line in summary_of(result, out, terminal.count, terminal.seconds):
        terminal.print(line)
    if is_first:
        print(f"{out} {manifest.digest}")
