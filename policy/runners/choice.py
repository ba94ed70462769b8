"""Which runner answers, and why: by what was measured on this machine, else by what was measured elsewhere.

A start never waits for a measurement. Without one of this machine, the table of `policy.runners.measured` counts: its
model of the nearest size. No torch: the service imports this.
"""

import importlib.util
import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from policy.cache import cache_folder
from policy.free_memory import available_memory
from policy.gguf_shapes import reasons_against_gguf
from policy.memory import memory_need, num_weights
from policy.model import read_config
from policy.openvino_ir import reasons_against_openvino
from policy.runners.base import RunnerOptions
from policy.runners.measured import ROWS, TABLE, Rates

LIBRARIES = ("openvino", "openvino-genai", "xllamacpp")
PROCESSORS = ("x86_64", "amd64")  # of the table
UNKNOWN_FIRST = ("llamacpp", "openvino")  # on processors of which nothing was measured


@dataclass(frozen=True)
class Choice:
    """The engines to try, best first, and why the first one is."""

    kinds: tuple[str, ...]
    why: str

    @property
    def line(self) -> str:
        """One line for logs and people."""
        return f"{self.kinds[0]}, since {self.why}"


def choose(folder: Path, digest: str, options: RunnerOptions) -> Choice:
    """Return the engines for the model in `folder`, best first. `digest` is that of its weights."""
    if options.kinds:
        return Choice(options.kinds, "engine.runner names it")
    if options.device == "cuda":
        return Choice(("transformers",), "it is the runner for CUDA")
    against = reasons_against(folder, options)
    able = [kind for kind in UNKNOWN_FIRST if not against[kind]]
    last = ("transformers",) if options.quantize == "none" else ()
    if len(able) < len(UNKNOWN_FIRST):
        why = "; ".join(f"{kind} cannot run this model: {reason}" for kind, reason in against.items() if reason)
        return Choice((*able, *last) or UNKNOWN_FIRST, why)
    rates, source = rates_for(folder, digest, options)
    if not rates:
        return Choice((*able, *last), f"nothing was measured on this kind of processor ({platform.machine()})")
    shares = worst_shares(rates)
    able.sort(key=lambda kind: -shares[kind][0])
    shown = ", ".join(f"{kind} {shares[kind][0]:.2f} ({shares[kind][1]})" for kind in able)
    return Choice((*able, *last), f"its speed beside the fastest, in its worst row, is {shown}, as {source}")


def reasons_against(folder: Path, options: RunnerOptions) -> dict[str, str]:
    """Return for each fast engine why it cannot run a model on this machine, "" where it can."""
    config = read_config(folder)
    found = {"openvino": reasons_against_openvino(config), "llamacpp": reasons_against_gguf(config)}
    if options.quantize in ("q4_k", "file"):
        found["openvino"].append(f"it has no weights of the kind {options.quantize}")
    for kind, package in (("openvino", "openvino_genai"), ("llamacpp", "xllamacpp")):
        if importlib.util.find_spec(package) is None:
            found[kind].append(f"the package {package} is not installed")
    there = available_memory()
    for kind in found:
        need = memory_need(folder, _only(options, kind)) if not found[kind] else 0
        if there is not None and need > there:
            found[kind].append(f"it takes {need / 2**30:.1f} GiB of memory, and {there / 2**30:.1f} are free")
    return {kind: ", ".join(reasons) for kind, reasons in found.items()}


def worst_shares(rates: Mapping[str, Rates]) -> dict[str, tuple[float, str]]:
    """Return for each engine its rate as a share of the best one's, in the row where that is least, and the row."""
    rows = [row for row in ROWS if all(row in of_kind for of_kind in rates.values())]
    best = {row: max(of_kind[row] for of_kind in rates.values()) for row in rows}
    return {kind: min((of_kind[row] / best[row], row) for row in rows) for kind, of_kind in rates.items()}


def keep(folder: Path, digest: str, options: RunnerOptions, rates: Mapping[str, Rates]) -> Path:
    """Keep what was measured for this model, machine and libraries in the cache; return the file."""
    path = _path(digest, options)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    kept = {"machine": machine(), "libraries": libraries(), "model": str(folder), "rates": dict(rates)}
    temporary.write_text(json.dumps(kept, indent=1) + "\n")
    temporary.replace(path)
    return path


def kept(digest: str, options: RunnerOptions) -> dict[str, Rates]:
    """Return what was measured here with these libraries, {} where nothing was."""
    try:
        found: dict[str, Any] = json.loads(_path(digest, options).read_text())
        if (found["machine"], found["libraries"]) != (machine(), libraries()):
            return {}
        return {kind: {row: float(rate) for row, rate in rates.items()} for kind, rates in found["rates"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def machine() -> str:
    """Return what makes this machine another one for a measurement: the processor and how many of it may be used."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.machine()} {name} x{cpus}"


def libraries() -> dict[str, str]:
    """Return the releases that compute."""
    return {name: _release(name) for name in LIBRARIES}


def _release(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def rates_for(folder: Path, digest: str, options: RunnerOptions) -> tuple[dict[str, Rates], str]:
    """Return the rates that count, and where they come from."""
    here = kept(digest, options)
    if here.keys() >= set(UNKNOWN_FIRST):
        return here, "measured on this machine"
    if platform.machine().lower() not in PROCESSORS:
        return {}, ""
    size = num_weights(folder)
    alike = [one for one in TABLE if one.quantize == options.quantize] or list(TABLE)
    nearest = min(alike, key=lambda one: abs(math.log(one.num_weights / size)))
    return dict(nearest.rates), f"measured with {nearest.model} on {nearest.machine}"


def _path(digest: str, options: RunnerOptions) -> Path:
    threads = options.threads or "all"
    name = f"{digest[:20]}-{options.quantize}-{options.precision}-{threads}.json"
    return cache_folder() / "runners" / name


def _only(options: RunnerOptions, kind: str) -> RunnerOptions:
    return replace(options, kinds=(kind,))
