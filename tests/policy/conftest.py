"""Runners over tiny models, shared by the tests of this folder, since a worker process takes seconds to start."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from policy.runners.base import RunnerOptions, VersionSource
from policy.runners.process import RunnerProcess
from tests.models import tiny_model


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """One thread: for tiny models more threads only wait for each other."""
    import torch

    torch.set_num_threads(1)


def rounded_model(folder: Path, shape: str = "llama", **overrides: Any) -> Path:
    """Write a tiny model with float16 numbers as weights, so that a runner with float16 weights computes the same."""
    import torch
    from transformers import AutoModelForCausalLM

    tiny_model(folder, shape, **overrides)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    model.save_pretrained(folder)
    return folder


def plain_model(folder: Path) -> Any:
    """Return the transformers model in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def source_of(folder: Path, cache: Path, **more: Any) -> VersionSource:
    """Return version 0 of a model folder."""
    return VersionSource(
        number=0, base=str(folder), digest=f"{folder.name}-{folder.stat().st_ino}", cache=cache, **more
    )


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Model folders by shape, each written once."""
    root = tmp_path_factory.mktemp("models")

    def model(shape: str) -> Path:
        return root / shape if (root / shape).is_dir() else rounded_model(root / shape, shape)

    return model


@pytest.fixture(scope="session")
def runners(
    models: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., RunnerProcess]]:
    """Runners by kind and shape, each started once and closed at the end."""
    cache = tmp_path_factory.mktemp("cache")
    started: dict[tuple[str, str, str], RunnerProcess] = {}

    def runner(kind: str, shape: str = "llama", precision: str = "float32") -> RunnerProcess:
        key = (kind, shape, precision)
        if key not in started:
            options = RunnerOptions(kinds=(kind,), max_batch=32, precision=precision, threads=1)
            started[key] = RunnerProcess.load(source_of(models(shape), cache), options)
        return started[key]

    yield runner
    for one in started.values():
        one.close()
