"""Who may read a data folder: its owner alone, and its group the version folders where the operator asks for that."""

import logging
import os
import stat
from pathlib import Path

log = logging.getLogger(__name__)
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
CROSSED_FOLDER = 0o710  # the group may pass through it to what is shared, and list nothing
SHARED_FOLDER, SHARED_FILE = 0o750, 0o640
SHARED = "versions"


def make_private(folder: Path, database: str) -> None:
    """Close an existing data folder, and the database with its journals, to everybody but their owner.

    A folder that `share_versions` opened for its group stays so. Whatever was open before is logged. A folder for
    everybody's files, such as /tmp, is left as it is.
    """
    mode = folder.stat().st_mode
    if mode & stat.S_ISVTX:
        log.warning("%s is a folder for everybody's files; name another --data folder", folder)
    elif stat.S_IMODE(mode) != CROSSED_FOLDER:
        _close(folder, PRIVATE_FOLDER)
    for name in (database, f"{database}-wal", f"{database}-shm"):
        if (folder / name).exists():
            _close(folder / name, PRIVATE_FILE)


def open_mode(folder: Path) -> int:
    """Return a data folder's mode where others than its owner may read or write it, 0 where not."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    return mode if mode & 0o077 and mode != CROSSED_FOLDER else 0


def share_versions(folder: Path, is_shared: bool) -> None:
    """Let the group of a data folder read its version folders and nothing else, or nothing at all."""
    if not is_shared:
        if stat.S_IMODE(folder.stat().st_mode) == CROSSED_FOLDER:
            _close(folder, PRIVATE_FOLDER)
        return
    for path in folder.iterdir():
        if path.name != SHARED and not path.is_symlink():
            _close(path, PRIVATE_FOLDER if path.is_dir() else PRIVATE_FILE)
    (folder / SHARED).mkdir(exist_ok=True)
    share_folder(folder / SHARED)
    _set_mode(folder, CROSSED_FOLDER)


def share_folder(folder: Path) -> None:
    """Let the group read a folder with all that is in it."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            _set_mode(path, SHARED_FOLDER if path.is_dir() else SHARED_FILE)


def _close(path: Path, mode: int) -> None:
    """Take away the rights that `mode` does not have, with a line in the log."""
    before = stat.S_IMODE(path.stat().st_mode)
    if before & ~mode & 0o777 and _set_mode(path, before & mode):
        log.warning("%s was open to others (mode %o); it is closed now (mode %o)", path, before, before & mode)


def _set_mode(path: Path, mode: int) -> bool:
    try:
        os.chmod(path, mode)
    except OSError as error:  # somebody else's folder
        log.warning("%s keeps its mode: %s", path, error.strerror)
        return False
    return True
