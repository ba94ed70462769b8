"""One service and one learner for each data folder: each holds a lock file, which the system frees with its process."""

import fcntl
import logging
import os
import shlex
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Literal

from store.errors import DataFolderUnwritable, FolderInUse

log = logging.getLogger(__name__)
Role = Literal["service", "learner"]
ROLES: tuple[Role, ...] = ("service", "learner")
POLL_S = 0.05
PASSING_S = 0.5  # `process_at_work` holds the lock for a moment


class FolderLock:
    """The lock of a role on a data folder, held until `release` or the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Free the folder for others. A second call changes nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def lock_folder(folder: Path, role: Role, wait_s: float = PASSING_S) -> FolderLock:
    """Take the lock, waiting for `wait_s` seconds for a process that ends just now.

    Raises FolderInUse, which names the process that holds it, and DataFolderUnwritable. A file system without locks
    gives a warning only.
    """
    path = _path(folder, role)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:  # another user's, for example
        raise DataFolderUnwritable(
            f"{path} cannot be written ({error.strerror}); work as the user who owns it"
        ) from error
    until = time.monotonic() + wait_s
    try:
        while not _take(descriptor, fcntl.LOCK_EX):
            if time.monotonic() >= until:
                raise FolderInUse(
                    f"another {role} works on the data folder {folder}: {_holder(descriptor)}; "
                    "end it, or name another folder with --data"
                )
            time.sleep(POLL_S)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {_command()}\n".encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return FolderLock(descriptor)


def process_at_work(folder: Path, role: Role, wait_s: float = 0.0) -> str:
    """Return the process that holds a role's lock, as people read it; "" when nobody has it within `wait_s` seconds."""
    try:
        descriptor = os.open(_path(folder, role), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    until = time.monotonic() + wait_s
    try:
        while not _take(descriptor, fcntl.LOCK_SH):
            if time.monotonic() >= until:
                return _holder(descriptor)
            time.sleep(POLL_S)
        return ""
    finally:
        os.close(descriptor)


def _path(folder: Path, role: Role) -> Path:
    return folder / f"{role}.lock"


def _take(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        log.warning("the data folder's file system has no locks (%s): run one service and one learner", error.strerror)
    return True


def _holder(descriptor: int) -> str:
    number, _, command = os.pread(descriptor, 4096, 0).decode(errors="replace").strip().partition(" ")
    return f"process {number} ({command})" if number.isdigit() else "a process that starts just now"


def _command() -> str:
    """Return this process's command line, as people type it."""
    program = Path(sys.argv[0] or "python")
    name = f"python -m {program.parent.name}" if program.name == "__main__.py" else program.name
    return " ".join([name, shlex.join(sys.argv[1:])]).strip()
