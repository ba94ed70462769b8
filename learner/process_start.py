"""What a process of the learner does before torch is loaded: checks, variables, and errors as one line."""

import contextlib
import os
import sqlite3
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from learner.errors import BadData, LearnerError
from learner.settings import LearnerSettings

if TYPE_CHECKING:
    from store.folder_lock import FolderLock

GPU_DRIVER = Path("/proc/driver/nvidia/version")
ENDING_S = 3.0  # that a killed learner may take to give its memory back


@dataclass
class Status:
    """The exit status to come."""

    code: int = 0


@contextlib.contextmanager
def one_line_errors() -> Generator[Status, None, None]:
    """Turn the errors that the rooms raise on purpose into one line and the exit status 1."""
    from policy.errors import PolicyError, first_line
    from store.errors import StoreError

    status = Status()
    try:
        yield status
    except (LearnerError, PolicyError, StoreError, sqlite3.Error) as error:
        print(first_line(error), file=sys.stderr)
        status.code = 1


def check_start(settings: LearnerSettings) -> LearnerSettings:
    """Check, without torch, what the learner needs to start: the model's folder, the data folder, the database.

    Returns the settings with the commit of a model of the hub.
    """
    from learner.model.sampler_choice import check_sampler
    from policy.memory_check import check_training_memory
    from policy.model import resolve_model
    from store.database import check_folder

    settings = with_model(settings)
    if settings.device != "cuda" and not GPU_DRIVER.exists():
        check_training_memory(settings.model, resolve_model(settings.model))
    check_sampler(settings, resolve_model(settings.model))
    check_folder(settings.data)
    return settings


def with_model(settings: LearnerSettings) -> LearnerSettings:
    """Return the settings with the model's name as manifests keep it: of a hub id, that with the commit."""
    from policy.model import resolved_name

    return settings.model_copy(update={"model": resolved_name(settings.model, settings.data)})


def only_learner(settings: LearnerSettings) -> "FolderLock":
    """Return the lock of the data folder's only learner. Raises FolderInUse, which names the other one."""
    from store.database import make_folder
    from store.folder_lock import lock_folder

    make_folder(settings.data)  # its database is opened under the lock, since that may change it
    return lock_folder(settings.data, "learner", ENDING_S)


def check_file(path: Path) -> None:
    """Check that a training file is there, before a model is loaded. Raises BadData."""
    if not path.is_file():
        raise BadData(f"there is no training file {path}")


def prepare_process(settings: LearnerSettings) -> None:
    """Set the variables that torch reads when it is loaded, and lower the process's priority by `nice`."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads take the CPU from the service
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if settings.threads:
        os.environ["OMP_NUM_THREADS"] = str(settings.threads)
    if settings.nice:
        os.nice(settings.nice)


def prepare_beside_service(settings: LearnerSettings) -> None:
    """Prepare the process of a learner beside a service: answers come first, and half of the CPUs is enough."""
    from learner.priority import num_threads, yield_to_answers

    if settings.threads or "OMP_NUM_THREADS" not in os.environ:
        settings = settings.model_copy(update={"threads": num_threads(settings.threads)})
    prepare_process(settings.model_copy(update={"nice": None}))
    yield_to_answers(settings.nice)
