"""What an update costs: wall time, CPU time, also of the sampler's process, and the largest memory of this process."""

import contextlib
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch


class Cost:
    """Measures from the moment it is made. `beside` gives the CPU seconds that other processes have taken."""

    def __init__(self, beside: Callable[[], float] = lambda: 0.0) -> None:
        self._beside = beside
        self._began, self._cpu_began = time.monotonic(), self._cpu()

    def so_far(self) -> dict[str, float]:
        """Return `seconds`, `cpu_seconds` and `peak_memory_mb` (MiB)."""
        seconds, cpu_seconds = time.monotonic() - self._began, self._cpu() - self._cpu_began
        return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_memory_mb": peak_memory_mb()}

    def _cpu(self) -> float:
        return time.process_time() + self._beside()


def reset_peak_memory() -> None:
    """Let `peak_memory_mb` begin anew, where the system allows it (Linux, CUDA)."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM


def peak_memory_mb() -> float:
    """Return this process's largest memory since `reset_peak_memory`, in MiB; on a GPU its largest allocation."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
