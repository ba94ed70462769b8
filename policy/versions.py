"""Version folders: an adapter or full weights, and a manifest that is written last.

Readers ignore a folder without a manifest.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from policy.digests import file_sha256
from policy.errors import CannotWrite, FingerprintMismatch, VersionCorrupt, first_line

MANIFEST = "manifest.json"
TOLERANCE = {
    "float32": 0.02,
    "bfloat16": 0.25,
    "q8_0": 0.25,
    "q4_0": 2.0,
    "q4_k": 2.0,
    "file": 1.0,
}  # nats; see fingerprint_tolerance


@dataclass(frozen=True)
class Fingerprint:
    """Log-probabilities (nats, temperature 1) of the likeliest tokens after a fixed prompt, recorded at publish.

    They identify the trained weights. `precision` is that of the computation, float32 or bfloat16.
    """

    prompt_ids: list[int]
    top_ids: list[int]
    top_logps: list[float]
    precision: str = "float32"


@dataclass(frozen=True)
class Manifest:
    """What a version folder holds. `files` maps names to sha256; `digest` is the sha256 over base digest and files."""

    version: int
    parent: int | None
    base_model: str
    base_digest: str
    kind: str  # adapter | full
    files: dict[str, str]
    digest: str
    seed: int
    fingerprint: Fingerprint
    created_at: str
    settings: dict[str, Any] = field(default_factory=dict)


def write_version(
    folder: Path,
    *,
    version: int,
    parent: int | None,
    base_model: str,
    base_digest: str,
    save: Callable[[Path], None],
    fingerprint: Fingerprint,
    seed: int,
    settings: dict[str, Any],
    kind: str = "adapter",
) -> Manifest:
    """Write a version folder completely or not at all: temporary folder, files, manifest last, fsync, rename.

    `save(path)` writes the weights. A folder that an interrupted attempt left under this name is replaced. An empty
    folder is filled in place: it may be a working directory or a mount. The temporary folder is always removed. Raises
    CannotWrite when the file system refuses.
    """
    temporary = _temporary(folder)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        save(temporary)
        files = {
            str(path.relative_to(temporary)): file_sha256(path)
            for path in sorted(temporary.rglob("*"))
            if path.is_file()
        }
        created_at = datetime.now(UTC).isoformat(timespec="microseconds")
        digest = _digest(base_digest, files)
        manifest = Manifest(
            version, parent, base_model, base_digest, kind, files, digest, seed, fingerprint, created_at, settings
        )
        (temporary / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1) + "\n")
        for path in [*temporary.rglob("*"), temporary]:
            _fsync(path)
        if temporary.parent == folder:
            for path in sorted(temporary.iterdir(), key=lambda path: path.name == MANIFEST):
                path.rename(folder / path.name)
            _fsync(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
            _fsync(folder.parent)
    except (OSError, SafetensorError) as error:
        raise CannotWrite(f"the version cannot be written to {folder} ({_reason(error)})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def prove_writable(folder: Path) -> None:
    """Make and remove the temporary folder of `write_version`, with a file in it. Raises CannotWrite."""
    try:
        temporary = _temporary(folder)
        try:
            temporary.mkdir(parents=True, exist_ok=True)
            (temporary / MANIFEST).write_text("{}\n")
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise CannotWrite(f"nothing can be written to {folder} ({_reason(error)})") from error


def read_version(folder: Path, *, verify: bool = True) -> Manifest:
    """Return a version folder's manifest; `verify` checks each file's digest. Raises VersionCorrupt."""
    try:
        raw = json.loads((folder / MANIFEST).read_text())
        manifest = _manifest(raw)
    except OSError as error:
        raise VersionCorrupt(f"{folder} is no version folder: it has no {MANIFEST}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise VersionCorrupt(f"{folder / MANIFEST} cannot be read ({error})") from error
    if verify:
        for name, digest in manifest.files.items():
            if not (folder / name).is_file():
                raise VersionCorrupt(f"{folder} lacks {name}, which its manifest names")
            if file_sha256(folder / name) != digest:
                raise VersionCorrupt(f"{folder / name} is not what was trained: its sha256 is not {digest[:12]}...")
        if _digest(manifest.base_digest, manifest.files) != manifest.digest:
            raise VersionCorrupt(f"the digest in {folder / MANIFEST} is not that of its files")
    return manifest


def fingerprint_tolerance(precision: str, quantize: str = "none", recorded: str = "float32") -> float:
    """Return the largest difference (nats) from a fingerprint, recorded in precision `recorded`, that is accepted.

    Measured on the bundled model, the largest of 32 tokens: 0.0006 in float32 (merged weights are stored as float16),
    0.02 in bfloat16, 0.05 with q8_0, 1 with q4_0. A mapped GGUF file has the trained weights, but llama.cpp rounds what
    flows through them: 0.54 with SmolLM2 in Q4_1. One optimizer step at 1e-3 changes it by 0.03, ten steps by 0.8. So
    float32 separates every update from its parent, bfloat16 and q8_0 all but the smallest, q4_0 only another model.
    The digests check the files themselves.
    """
    return max(TOLERANCE[precision], TOLERANCE.get(quantize, 0.0), TOLERANCE[recorded])


def fingerprint_difference(fingerprint: Fingerprint, seen_logps: Sequence[float], tolerance: float) -> float:
    """Return the largest difference (nats) of a runner's log-probabilities from a fingerprint.

    Raises FingerprintMismatch above `tolerance` and for a NaN.
    """
    differences = [abs(seen - recorded) for seen, recorded in zip(seen_logps, fingerprint.top_logps, strict=True)]
    difference = max(differences, default=0.0)
    if not all(one <= tolerance for one in differences):  # one by one, since max() may ignore a NaN
        what = f"the loaded weights differ from the trained ones by {difference:.3g} nat"
        raise FingerprintMismatch(f"{what} in the fingerprint; at most {tolerance} is allowed")
    return difference


def _manifest(raw: dict[str, Any]) -> Manifest:
    """Return the manifest of its JSON; `probe` is the former name of `fingerprint`."""
    names = {"probe": "fingerprint"}
    fields = {names.get(name, name): value for name, value in dict(raw).items()}
    return Manifest(**{**fields, "fingerprint": Fingerprint(**fields["fingerprint"])})


def _temporary(folder: Path) -> Path:
    """Return the temporary folder of a version, on the same file system."""
    if folder.is_dir() and not any(folder.iterdir()):
        return folder / f".{os.getpid()}"
    return folder.with_name(f".{folder.name}.{os.getpid()}")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)


def _digest(base_digest: str, files: dict[str, str]) -> str:
    lines = [base_digest, *(f"{name}:{digest}" for name, digest in sorted(files.items()))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
