"""What most tests of the service share."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.service.running import Running, running


@pytest.fixture
def served(tmp_path: Path) -> Generator[Running, None, None]:
    """A running service with a parrot, on a data folder of its own."""
    with running(tmp_path / "data") as service:
        yield service
