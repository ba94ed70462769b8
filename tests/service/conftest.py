"""Fixtures that most tests of the service share."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.service.running import Running, running


@pytest.fixture
def served(tmp_path: Path) -> Generator[Running, None, None]:
    """A running service with a parrot, on a data folder of its own."""
    with running(tmp_path / "data") as service:
        yield service


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running, None, None]:
    """One running service for all tests of a file; use it in tests that do not disturb each other."""
    with running(tmp_path_factory.mktemp("shared") / "data") as service:
        yield service
