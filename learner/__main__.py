"""`python -m learner`: the learner as a process. `--check` checks the settings alone, `--once` makes one update."""

import argparse
import logging
import re
import signal
import sys
import textwrap
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from config.errors import ConfigError
from config.fields import as_flag, fields_of, range_of
from config.flags import flags_of
from learner.errors import BadSetting
from learner.process_start import check_start, one_line_errors, only_learner, prepare_beside_service
from learner.settings import NAMES, LearnerSettings, load_settings
from policy.watchdog import Beats

INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """A parser that raises BadSetting where argparse prints the whole usage and exits."""

    def error(self, message: str) -> NoReturn:
        short = re.sub(r"^argument (\S+): expected one argument$", r"\1 needs a value", message)
        raise BadSetting(short.removeprefix("argument "))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the flags that are no settings; its help lists each setting as a flag."""
    made = _Parser(
        "attune learn",
        description="Turn feedback into better versions of the model.",
        epilog=settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--config", type=Path, help="TOML file; the learner's settings are in its [learner] table")
    made.add_argument("--check", action="store_true", help="check the settings, and exit")
    made.add_argument("--beats-fd", type=int, help=argparse.SUPPRESS)  # a service that watches its learner gives it
    made.add_argument("--once", action="store_true", help="make one update with whatever waits, and exit")
    return made


def settings_help() -> str:
    """Return every setting as a flag, with its description, range and default."""
    lines = ["settings:"]
    for path, field in fields_of(LearnerSettings):
        allowed = f" Range: {range_of(field)}." if range_of(field) else ""
        text = f"{' '.join(str(field.description).split())}{allowed} Default: {field.default}."
        lines += [f"  {as_flag(path)} X", *textwrap.wrap(text, 100, initial_indent=" " * 8, subsequent_indent=" " * 8)]
    return "\n".join(lines)


def settings_of_flags(arguments: Sequence[str]) -> dict[str, str]:
    """Return the settings among command-line flags, by path, as text. Raises BadSetting for anything else."""
    try:
        return flags_of(arguments, NAMES)
    except ConfigError as error:
        raise BadSetting(str(error)) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the learner until it gets a signal; return the exit status."""
    with one_line_errors() as status:
        given, rest = parser().parse_known_args(sys.argv[1:] if arguments is None else arguments)
        if given.beats_fd is not None:
            Beats(given.beats_fd)
        settings = load_settings(settings_of_flags(rest), given.config)
        settings = check_start(settings)
        if not given.check:
            with only_learner(settings):
                status.code = _learn(settings, once=given.once)
    return status.code


def _learn(settings: LearnerSettings, *, once: bool) -> int:
    """Run the loop; return the exit status. A signal is no failure, unless it cuts short the one update of `once`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    prepare_beside_service(settings)
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
