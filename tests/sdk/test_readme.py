"""The README of the SDK, run from top to bottom."""

import re
from pathlib import Path

import pytest

from tests.sdk.fake_service import FakeService

README = Path(__file__).parents[2] / "clients" / "python" / "README.md"


def test_its_examples_run_in_order(fake: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    known: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.M | re.S)
    assert len(blocks) == 7
    for block in blocks:
        exec(compile(block, README.name, "exec"), known)
    out = capsys.readouterr().out
    assert "12 by version 1" in out
    assert "It was attune@1" in out
    assert "There is no model 'attune@999'. 404 model_not_found model" in out
    assert [row["kind"] for row in fake.feedback][:4] == ["thumb", "score", "correction", "preference"]


def test_its_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    from attune.cli.app import run

    named = set(re.findall(r"\battune ([a-z]+)", README.read_text())) - {"service"}
    assert named >= {"chat", "rate", "versions", "export"}
    for name in named - {"is"}:
        assert run([name, "--help"]) == 0, name
    capsys.readouterr()
