"""`python -m learner`: the learner as a process. `--check` looks at the settings alone, `--once` makes one update with whatever waits."""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from learner.errors import LearnerError
from learner.settings import LearnerSettings, load_settings


def parser() -> argparse.ArgumentParser:
    """Return the parser: one flag per setting, with the setting's own description."""
    made = argparse.ArgumentParser("attune learn", description="Turn feedback into better versions of the model.", allow_abbrev=False)
    made.add_argument("--config", type=Path, help="TOML file; the learner's settings are in its [learner] table")
    made.add_argument("--check", action="store_true", help="say whether the settings are right, and end")
    made.add_argument("--once", action="store_true", help="make one update with whatever waits, and end")
    for name, field in LearnerSettings.model_fields.items():
        text = f"{field.description} Default: {field.default}.".replace("%", "%%")
        made.add_argument(f"--{name.replace('_', '-')}", dest=name, metavar="X", help=text)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the learner until it is told to stop; return the exit status."""
    given = vars(parser().parse_args(arguments))
    config, check, once = given.pop("config"), given.pop("check"), given.pop("once")
    try:
        settings = load_settings(given, config)
        check_start(settings)
        return 0 if check else _learn(settings, once=once)
    except Exception as error:
        if not _is_ours(error):
            raise
        print((str(error).strip() or type(error).__name__).splitlines()[0], file=sys.stderr)
        return 1


def check_start(settings: LearnerSettings) -> None:
    """Look, without torch, at what would keep the learner from starting: the model's folder, the data folder, the database."""
    from policy.model import resolve_model
    from store.database import open_store

    resolve_model(settings.model)
    open_store(settings.data).close()


def _learn(settings: LearnerSettings, *, once: bool) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads take the CPU from those who answer people
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if settings.nice:
        os.nice(settings.nice)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: stop.set())
    from learner.loop import Loop

    Loop(settings, stop).run(once=once)
    return 0


def _is_ours(error: Exception) -> bool:
    """Whether an error is one that the rooms raise on purpose, with a sentence for people."""
    from policy.errors import PolicyError
    from store.errors import StoreError

    return isinstance(error, LearnerError | PolicyError | StoreError)


if __name__ == "__main__":
    sys.exit(main())
