"""What an erased person leaves in files: weights that learned from them, and their id in manifests."""

import contextlib
import json
import logging
import os
import shutil
from pathlib import Path

from store.erasure import Erased
from store.scrubbing import without_person

log = logging.getLogger(__name__)
MANIFESTS = ("versions/*/manifest.json", "rewards/*/manifest.json")


def remove_learned(data: Path, erased: Erased) -> None:
    """Delete the version folders, reward models and caches that learned from an erased person.

    The caches hold the optimizer's state and the runners' files; both are made again when they are needed.
    """
    for version in erased.versions:
        if version.folder:
            shutil.rmtree(data / version.folder, ignore_errors=True)
    for folder in sorted(data.glob("rewards/*")):
        if erased.first_seq is not None and _last_seq(folder) >= erased.first_seq:
            shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(data / "cache", ignore_errors=True)
    for pattern in MANIFESTS:
        for path in sorted(data.glob(pattern)):
            _remove_name(path, erased.rater_id)


def _last_seq(folder: Path) -> float:
    """Return the `seq` of the last feedback that a reward model may have learned from; unknown is all of it."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        return float(json.loads((folder / "reward.json").read_text()).get("upto_seq", float("inf")))
    return float("inf")


def _remove_name(path: Path, rater_id: str) -> None:
    """Write a manifest without a rater's id, whole or not at all. Its digests are of the other files, and stay."""
    try:
        text = path.read_text()
        if rater_id not in text:
            return
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(json.loads(without_person(text, rater_id)), indent=1) + "\n")
        temporary.chmod(path.stat().st_mode & 0o777)
        os.replace(temporary, path)
    except (OSError, ValueError) as error:
        log.error("%s may still name an erased person: %s", path, error)
