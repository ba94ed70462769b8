"""The sha256 of files. Those of large files are kept, since hashing gigabytes takes seconds at each start."""

import hashlib
import json
import os
from pathlib import Path

from policy.cache import cache_folder

REMEMBERED = 64 * 2**20  # bytes: the digests of files of at least this size are kept


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digest(path: Path) -> str:
    """Return a file's sha256. That of a large file is cached by path, size and modification time."""
    stat = path.stat()
    if stat.st_size < REMEMBERED:
        return file_sha256(path)
    memory = cache_folder() / "digests.json"
    key = f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
    try:
        known: dict[str, str] = json.loads(memory.read_text())
    except (OSError, ValueError):
        known = {}
    if key not in known:
        known[key] = file_sha256(path)
        try:
            memory.parent.mkdir(parents=True, exist_ok=True)
            temporary = memory.with_name(f"{memory.name}.{os.getpid()}")
            temporary.write_text(json.dumps(known))
            temporary.replace(memory)
        except OSError:
            pass  # only slower the next time
    return known[key]
