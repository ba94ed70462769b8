"""GGUF files as model folders: each is read once, into a folder of the cache that its digest names."""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from policy import errors
from policy.cache import cache_folder
from policy.catalog import sampling_of_file
from policy.digests import file_digest
from policy.errors import CannotWrite, ModelCorrupt, PolicyError, UnsupportedModel
from policy.free_memory import available_memory
from policy.gguf_header import read_header

log = logging.getLogger(__name__)
SOURCE = "gguf_source.json"  # written last: a folder without it is not whole
PATH = "gguf_path.txt"
FORM = 1  # of the folders; a change makes all of them again
PROCESS = 1.0 * 2**30  # bytes: torch and transformers while they read a file
HALF = 2  # bytes of a weight


def folder_of_gguf(path: Path) -> Path:
    """Return the folder that holds the model of a GGUF file. It is made at first, which takes seconds to minutes.

    Raises ModelCorrupt for a torn file, UnsupportedModel for one that cannot be read here or does not fit the memory,
    CannotWrite where the cache cannot be written.
    """
    path = path.absolute()
    header = read_header(path)
    digest = file_digest(path)
    folder = cache_folder() / "models" / f"gguf-{digest[:20]}-{FORM}"
    if not _is_whole(folder, digest):
        need, there = int(PROCESS + HALF * header.num_weights), available_memory()
        if there is not None and need > there:
            lead = f"{path} takes {need / 2**30:.1f} GiB of memory while it is read, and {there / 2**30:.1f} are free"
            raise UnsupportedModel(f"{lead}; choose a smaller model, or end other programs")
        log.warning("%s is read, once; its weights are kept in %s", path, folder)
        _make(path, folder, digest)
    _note_path(folder, path)
    return folder


def gguf_of(folder: Path) -> Path | None:
    """Return the GGUF file that a model folder was made of, None for another folder and where the file is gone."""
    source = _source(folder)
    try:
        path = Path((folder / PATH).read_text())
        return path if source is not None and file_digest(path) == source["sha256"] else None
    except OSError:
        return None


def _note_path(folder: Path, path: Path) -> None:
    """Keep where the file lies, which may change: the runner of llama.cpp can map it as it is."""
    note = folder / PATH
    try:
        if not note.exists() or note.read_text() != str(path):
            note.write_text(str(path))
    except OSError as error:
        raise CannotWrite(f"{note} cannot be written ({error.strerror})") from error


def gguf_digest(folder: Path) -> str | None:
    """Return the digest of a model that came from a GGUF file, None for any other folder and for changed files.

    It follows from the file alone, so that a folder made by another release of transformers counts as the same model.
    """
    source = _source(folder)
    if source is None or not _is_whole(folder, source["sha256"]):
        return None
    return hashlib.sha256(f"gguf:{source['sha256']}".encode()).hexdigest()


def _is_whole(folder: Path, digest: str) -> bool:
    """Whether the folder was made of that file and its files are those that were written."""
    source = _source(folder)
    if source is None or source["sha256"] != digest:
        return False
    try:
        return all(file_digest(folder / name) == known for name, known in source["files"].items())
    except OSError:
        return False


def _source(folder: Path) -> dict[str, Any] | None:
    try:
        source: dict[str, Any] = json.loads((folder / SOURCE).read_text())
        return source if source.keys() >= {"sha256", "files"} else None
    except (OSError, ValueError, AttributeError):
        return None


def _make(path: Path, folder: Path, digest: str) -> None:
    """Fill the folder completely or not at all."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        remarks = _convert(path, temporary)
        _add_sampling(temporary, digest)
        files = {file.name: file_digest(file) for file in sorted(temporary.iterdir())}
        source = {"file": path.name, "sha256": digest, "files": files, "remarks": remarks}
        (temporary / SOURCE).write_text(json.dumps(source, indent=1) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError as error:
        if isinstance(error, PolicyError):
            raise
        raise CannotWrite(f"{path} cannot be kept in {folder} ({error.strerror})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for remark in remarks:
        log.warning("%s", remark)


def _add_sampling(folder: Path, digest: str) -> None:
    """Add how the makers of a known file sample, where the file itself does not say."""
    path = folder / "generation_config.json"
    config = {**sampling_of_file(digest), **json.loads(path.read_text())}
    path.write_text(json.dumps(config, indent=2) + "\n")


def _convert(path: Path, folder: Path) -> list[str]:
    """Run the conversion in a process of its own, since torch would stay in this one; return its remarks."""
    done = subprocess.run(
        [sys.executable, "-m", "policy.gguf_conversion", str(path), str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        if done.returncode == -9:  # the kernel ends what does not fit
            raise UnsupportedModel(f"{path} does not fit into this machine's memory; choose a smaller model") from error
        line = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise ModelCorrupt(f"{path} cannot be read ({line})") from error
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["message"])
    return list(answer["remarks"])
