"""`python -m learner`: the learner as a process. `--check` looks at the settings alone, `--once` makes one update with whatever waits."""

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learner.errors import BadData, BadSetting, LearnerError
from learner.settings import LearnerSettings, load_settings, range_of


def parser() -> argparse.ArgumentParser:
    """Return the parser: one flag per setting, with the setting's own description."""
    made = argparse.ArgumentParser("attune learn", description="Turn feedback into better versions of the model.", allow_abbrev=False)
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
    settings = argparse.ArgumentParser("attune learn", allow_abbrev=False, add_help=False)
    _add_settings(settings)
    given, rest = settings.parse_known_args(arguments)
    if rest:
        raise BadSetting(f"unknown option {rest[0]!r}; `attune learn --help` lists the settings")
    return {name: value for name, value in vars(given).items() if value is not None}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the learner until it is told to stop; return the exit status."""
    given = vars(parser().parse_args(arguments))
    config, check, once = given.pop("config"), given.pop("check"), given.pop("once")
    with one_line_errors() as status:
        settings = load_settings(given, config)
        check_start(settings)
        if not check:
            _learn(settings, once=once)
    return status.code


@dataclass
class Status:
    """An exit status to be."""

    code: int = 0


@contextlib.contextmanager
def one_line_errors() -> Generator[Status, None, None]:
    """Turn the errors that the rooms raise on purpose into one line and the exit status 1."""
    from policy.errors import PolicyError
    from store.errors import StoreError

    status = Status()
    try:
        yield status
    except (LearnerError, PolicyError, StoreError) as error:
        print((str(error).strip() or type(error).__name__).splitlines()[0], file=sys.stderr)
        status.code = 1


def check_start(settings: LearnerSettings) -> None:
    """Look, without torch, at what would keep the learner from starting: the model's folder, the data folder, the database."""
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


def _learn(settings: LearnerSettings, *, once: bool) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    prepare_process(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: stop.set())
    from learner.loop import Loop

    Loop(settings, stop).run(once=once)


if __name__ == "__main__":
    sys.exit(main())
