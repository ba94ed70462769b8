"""The fake service of the SDK's tests, and a home of its own for the command."""

from pathlib import Path

import pytest

from tests.sdk.conftest import fake, one_fake  # noqa: F401 - fixtures
from tests.sdk.fake_service import FakeService


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: FakeService) -> Path:  # noqa: F811
    """A state folder for this test alone, and a terminal of a known width."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path
