"""What an erased person leaves in files: weights that learned from them, and their id in manifests."""

import json
import logging
import os
import shutil
from pathlib import Path

from policy.reward_folders import remove_learned_rewards
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
    if erased.first_seq is not None:
        remove_learned_rewards(data, erased.first_seq)
    shutil.rmtree(data / "cache", ignore_errors=True)
    for pattern in MANIFESTS:
        for path in sorted(data.glob(pattern)):
            _remove_name(path, erased.rater_id)


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
