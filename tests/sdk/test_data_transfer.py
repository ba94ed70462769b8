"""Exports and imports of files."""

from pathlib import Path
from typing import Any

import pytest

import attune
from tests.sdk.conftest import Either
from tests.sdk.fake_service import FakeService


def test_a_file_goes_out_and_comes_in_with_progress(
    either: Either, client: Any, fake: FakeService, tmp_path: Path
) -> None:
    steps: list[tuple[int, int | None]] = []
    file = tmp_path / "pairs.jsonl"
    assert either.get(client.export_file(file, progress=lambda done, total: steps.append((done, total)))) == 2
    assert steps[-1] == (file.stat().st_size, file.stat().st_size)
    steps.clear()
    imported = either.get(
        client.import_file(file, "preference", progress=lambda done, total: steps.append((done, total)))
    )
    assert imported.imported == 2
    assert steps[-1] == (file.stat().st_size, file.stat().st_size)
    assert fake.seen[-1].query == {"format": "preference"}
    assert fake.seen[-1].headers["content-type"] == "application/x-ndjson"


def test_an_export_that_fails_leaves_the_old_file(
    either: Either, client: Any, fake: FakeService, tmp_path: Path
) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text("old")
    fake.fault("/v1/export", breaks="before", times=3)
    with pytest.raises(attune.ServiceUnreachable):
        either.get(client.export_file(file))
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]
    assert file.read_text() == "old"
