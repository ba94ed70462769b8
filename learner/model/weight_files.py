"""The resident weights as files that a runner loads: those of a version where there are some, else written now."""

import os
import re
import shutil
from hashlib import sha256
from pathlib import Path

from learner.model.sampled_model import SampledModel
from policy.runners.base import VersionSource
from policy.versions import read_version

_FOLDER = re.compile(r"sampler-(\d+)")  # with the process's id


class WeightFiles:
    """Files of the resident weights, in the data folder's cache; those that belong to no version are temporary."""

    def __init__(self, resident: SampledModel) -> None:
        self._resident = resident
        self._cache = resident.settings.data / "cache"
        self._scratch = self._cache / f"sampler-{os.getpid()}"
        _remove_left(self._cache)

    def source(self) -> VersionSource:
        """Return the resident weights, as they are now, for a runner. The base model and a version are not written."""
        resident = self._resident
        if resident.is_base:
            return self._version(None, resident.base_digest)
        digest, (known, folder) = resident.weights_digest(), resident.origin
        if digest == known:
            return self._version(folder, resident.parent_digest)
        return self._written(sha256(f"{resident.base_digest}:{digest}".encode()).hexdigest())

    def close(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _version(self, folder: Path | None, digest: str) -> VersionSource:
        number = read_version(folder, verify=False).version if folder is not None else 0
        return self._source(number, folder, digest)

    def _written(self, digest: str) -> VersionSource:
        folder = self._scratch / digest[:16]
        if not folder.exists():
            unfinished = folder.with_suffix(".tmp")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            self._resident.save(unfinished)
            unfinished.rename(folder)
        self._remove_all_but(digest[:16])
        return self._source(0, folder, digest)

    def _source(self, number: int, folder: Path | None, digest: str) -> VersionSource:
        is_full = self._resident.settings.tuning == "full"
        return VersionSource(
            number=number,
            base=str(self._resident.folder),
            digest=digest,
            cache=self._cache,
            adapter=None if is_full else folder,
            full=folder if is_full else None,
            # A version's files lie where the service finds them too.
            scratch=self._scratch if folder is not None and folder.parent == self._scratch else None,
        )

    def _remove_all_but(self, digest: str) -> None:
        """Remove what was written for other weights, also by runners; one that has a file open keeps it."""
        for path in [*self._scratch.iterdir(), *self._scratch.glob("*/*.gguf")]:
            if digest in path.name:
                continue
            if path.is_file():
                path.unlink(missing_ok=True)
            elif re.match(r"[0-9a-f]{16}", path.name):
                shutil.rmtree(path, ignore_errors=True)


def _remove_left(cache: Path) -> None:
    """Remove the folders of processes that are gone."""
    for path in cache.glob("sampler-*"):
        found = _FOLDER.fullmatch(path.name)
        if found is not None and not Path(f"/proc/{found[1]}").exists():
            shutil.rmtree(path, ignore_errors=True)
