"""A tiny model on disk, settings that make an update of it take a second, and a world to learn from."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from learner.loop import Loop
from learner.settings import LearnerSettings, load_settings
from policy.model import model_digest
from tests.learner.world import World
from tests.models import tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny", initializer_range=0.08)


@pytest.fixture
def world(tiny: Path, tmp_path: Path) -> World:
    return World(tmp_path / "data", model_digest(str(tiny)))


@pytest.fixture
def make_settings(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., LearnerSettings]:
    """Builds small settings on the tiny model and the world's folder: `gate__holdout=0` sets `gate.holdout`."""
    for name in ("ATTUNE_DATA", "ATTUNE_MODEL", "ATTUNE_DEVICE", "ATTUNE_CONFIG"):
        monkeypatch.delenv(name, raising=False)

    def build(**flags: Any) -> LearnerSettings:
        small = {
            "steps": 6,
            "batch_size": 4,
            "anchors.count": 8,
            "anchors.batch_size": 2,
            "gate.num_samples": 8,
            "gate.max_tokens": 16,
            "device": "cpu",
        }
        given = {name.replace("__", "."): value for name, value in flags.items()}
        return load_settings({"data": tmp_path / "data", "model": str(tiny)} | small | given)

    return build


@pytest.fixture
def start(world: World, make_settings: Callable[..., LearnerSettings]) -> Iterator[Callable[..., Loop]]:
    """Builds loops on the world's folder, with settings as `make_settings` takes them; they are closed at the end."""
    opened: list[Loop] = []

    def build(**flags: Any) -> Loop:
        opened.append(Loop(make_settings(**flags), threading.Event()))
        return opened[-1]

    yield build
    for loop in opened:
        loop.close()
