"""The memory that this machine, or this container, has left."""

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_LIMIT, _USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
_CACHED = Path("/sys/fs/cgroup/memory.stat")


def available_memory() -> int | None:
    """Return the bytes that new processes can take, None where the system does not say."""
    found = [bytes_ for bytes_ in (_of_machine(), _of_container()) if bytes_ is not None]
    return min(found, default=None)


def _of_machine() -> int | None:
    return _field(_MEMINFO, "MemAvailable:", 1024)


def _of_container() -> int | None:
    try:
        limit, used = _LIMIT.read_text().strip(), int(_USED.read_text())
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    return max(0, int(limit) - used + (_field(_CACHED, "inactive_file", 1) or 0))


def _field(path: Path, name: str, unit: int) -> int | None:
    try:
        line = next(line for line in path.read_text().splitlines() if line.split()[:1] == [name])
        return int(line.split()[1]) * unit
    except (OSError, StopIteration, ValueError, IndexError):
        return None
