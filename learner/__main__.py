"""`python -m learner`: the learner as a process. `--check` looks at the settings alone, `--once` makes one update with
whatever waits.
"""

import argparse
import contextlib
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from learner.errors import BadData, BadSetting, LearnerError
from learner.settings import LearnerSettings, load_settings, range_of

INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """A parser that raises BadSetting where argparse prints the whole usage and ends."""

    def error(self, message: str) -> NoReturn:
        raise BadSetting(
            re.sub(r"^argument (\S+): expected one argument$", r"\1 needs a value", message).removeprefix("argument ")
        )


def parser() -> argparse.ArgumentParser:
    """Return the parser: one flag per setting, with the setting's own description."""
    made = _Parser("attune learn", description="Turn feedback into better versions of the model.", allow_abbrev=False)
    made.add_argument("--config", type=Path, help="TOML file; the learner's settings are in its [learner] table")
    made.add_argument("--check", action="store_true", help="say whether the settings are right, and end")
    made.add_argument("--once", action="store_true", help="make one update with whatever waits, and end")
    _add_settings(made)
    return made


def _add_settings(made: argparse.ArgumentParser) -> None:
    for name, field in LearnerSettings.model_fields.items():
        allowed = f" Range: {range_of(field)}." if range_of(field) else ""
        text = f"{field.description}{allowed} Default: {field.default}.".replace("%", "%%")
        made.add_argument(f"--{name.replace('_', '-')}", dest=name, metavar="X", help=text)


def flags_of(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the settings among command-line flags, as text. Raises BadSetting for anything else."""
    settings = _Parser("attune learn", allow_abbrev=False, add_help=False)
    _add_settings(settings)
    return {name: value for name, value in _parsed(settings, arguments).items() if value is not None}


def _parsed(made: argparse.ArgumentParser, arguments: Sequence[str]) -> dict[str, Any]:
    given, rest = made.parse_known_args(_with_negative_numbers(arguments))
    if rest:
        raise BadSetting(f"unknown option {rest[0]!r}; `attune learn --help` lists the settings")
    return vars(given)


def _with_negative_numbers(arguments: Sequence[str]) -> list[str]:
    """Return the words with each negative number joined to its flag: argparse takes the -1e9 of `--nll -1e9` for one."""
    words: list[str] = []
    for word in arguments:
        if words and re.fullmatch(r"--[^=]+", words[-1]) and word.startswith("-") and _is_number(word):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the learner until it is told to stop; return the exit status."""
    with one_line_errors() as status:
        given = _parsed(parser(), sys.argv[1:] if arguments is None else arguments)
        config, check, once = given.pop("config"), given.pop("check"), given.pop("once")
        settings = load_settings(given, config)
        check_start(settings)
        if not check:
            status.code = _learn(settings, once=once)
    return status.code


@dataclass
class Status:
    """An exit status to be."""

    code: int = 0


@contextlib.contextmanager
def one_line_errors() -> Generator[Status, None, None]:
    """Turn the errors that the rooms raise on purpose into one line and the exit status 1."""
    from policy.errors import PolicyError, first_line
    from store.errors import StoreError

    status = Status()
    try:
        yield status
    except (LearnerError, PolicyError, StoreError) as error:
        print(first_line(error), file=sys.stderr)
        status.code = 1


def check_start(settings: LearnerSettings) -> None:
    """Look, without torch, at what would keep the learner from starting: the model's folder, the data folder, the
    database.
    """
    from policy.model import resolve_model
    from store.database import open_store

    resolve_model(settings.model)
    open_store(settings.data).close()


def check_file(path: Path) -> None:
    """Look whether a training file is there, before a model is loaded. Raises BadData."""
    if not path.is_file():
        raise BadData(f"there is no training file {path}")


def prepare_process(settings: LearnerSettings) -> None:
    """Set up what torch reads when it is loaded, and step back from the CPU as far as the settings say."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads take the CPU from those who answer people
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if settings.nice:
        os.nice(settings.nice)


def _learn(settings: LearnerSettings, *, once: bool) -> int:
    """Run the loop, and return the exit status: to stop is an order that was obeyed, unless it cut short the one update
    that was asked for.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    prepare_process(settings)
    stop, received = threading.Event(), set[int]()

    def end(number: int, _frame: Any) -> None:
        received.add(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
    from learner.loop import Loop

    loop = Loop(settings, stop)
    loop.run(once=once)
    if loop.why_none:
        print(loop.why_none)
    if once and loop.failure:
        print(loop.failure, file=sys.stderr)
        return 1
    return INTERRUPTED if once and signal.SIGINT in received else 0


if __name__ == "__main__":
    sys.exit(main())
