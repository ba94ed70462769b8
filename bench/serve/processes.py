"""What a tree of processes takes, as Linux counts it in /proc: processor time and memory."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
KIB_OF_MIB = 1024


@dataclass(frozen=True)
class _Stat:
    pid: int
    parent: int
    cpu_s: float  # its own, and that of the children that it has waited for


def cpu_seconds(root: int) -> float:
    """Return the processor time (s) of a process and all that it started, those that have ended too."""
    return sum(stat.cpu_s for stat in _tree(root))


def memory_mib(root: int) -> float:
    """Return the memory (MiB) of a process and all that it started. Shared pages count in parts (PSS)."""
    return sum(_pss_kib(stat.pid) for stat in _tree(root)) / KIB_OF_MIB


def _tree(root: int) -> list[_Stat]:
    everyone = {stat.pid: stat for stat in map(_stat, _pids()) if stat is not None}
    children: dict[int, list[int]] = {}
    for stat in everyone.values():
        children.setdefault(stat.parent, []).append(stat.pid)
    found, left = [], [root]
    while left:
        pid = left.pop()
        if pid in everyone:
            found.append(everyone[pid])
            left += children.get(pid, [])
    return found


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> _Stat | None:
    with contextlib.suppress(OSError):  # it may have ended
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return _Stat(pid, int(fields[1]), sum(map(int, fields[11:15])) / TICKS)
    return None


def _pss_kib(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
