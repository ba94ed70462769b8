"""A model of the hub: service and learner name it with its commit, so every manifest has that."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from learner.process_start import check_start
from learner.settings import LearnerSettings
from policy.catalog import bundled_models
from policy.hub import record_pin
from service.learner_child import learner_command
from service.serving import model_name
from tests.service.running import serve_settings

COMMITS = ["1" * 40, "2" * 40]


def test_service_and_learner_keep_the_commit_of_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = [COMMITS[0]]

    def download(repository: str, revision: str | None = None, **_: Any) -> str:
        folder = tmp_path / "models--owner--model" / "snapshots" / (revision or newest[0])
        if not folder.exists():
            shutil.copytree(bundled_models()["pocket-nano"], folder)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    data = tmp_path / "data"
    data.mkdir()
    settings = serve_settings(data=data, model="owner/model")
    first = model_name(settings)
    assert first == f"owner/model@{COMMITS[0]}"
    record_pin(data, first)
    newest[0] = COMMITS[1]
    assert model_name(settings) == first
    assert check_start(LearnerSettings(data=data, model="owner/model")).model == first
    assert check_start(LearnerSettings(data=tmp_path / "new", model="owner/model")).model.endswith(COMMITS[1])
    command = learner_command(settings.model_copy(update={"model": first}))
    assert command[command.index("--model") + 1] == first
