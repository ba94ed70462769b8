"""The whole loop with real parts: simulated users, a service, a learner, and a model that learns their taste."""

import json
from pathlib import Path

import pytest

from attune.cli.app import run
from tests.served import serve


@pytest.mark.slow
def test_users_who_like_it_short_get_it_shorter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(tmp_path / "data") as served:
        monkeypatch.setenv("ATTUNE_BASE_URL", served.url)
        assert (
            run(["simulate", "--taste", "short", "--rounds", "12", "--png", str(tmp_path / "curve.png"), "--json"]) == 0
        )
    outcome = json.loads(capsys.readouterr().out)
    first, last = outcome["points"][0], outcome["points"][-1]
    assert outcome["live"] > 0
    assert outcome["settled"]
    assert last["interval"][0] > 0.5
    assert last["mean_length"] < first["mean_length"]
