"""Models of the hub: owner/name@revision, and the commit that a data folder has learned on."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from policy.errors import ModelNotFound
from policy.hub import is_hub_id, pinned, pinned_by, record_pin
from policy.model import resolve_model, resolved_name
from tests.models import tiny_model

OLD, NEW = "1" * 40, "2" * 40


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A hub with one model; the test may move its branches."""
    branches = {"main": OLD, "v1": OLD}
    made = tiny_model(tmp_path / "made")

    def download(repository: str, revision: str | None = None, local_files_only: bool = False, **_: Any) -> str:
        commit = branches.get(revision or "main", revision)
        if repository != "owner/model" or local_files_only or commit not in (OLD, NEW):
            raise OSError("there is no such model\nor revision")
        folder = tmp_path / "hub" / "models--owner--model" / "snapshots" / commit
        if not folder.exists():
            shutil.copytree(made, folder)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    return branches


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("owner/name", True),
        ("owner/name@v1.0", True),
        ("owner/name@refs/pr/3", True),
        ("owner/name@", False),
        ("name", False),
        ("a/b/c", False),
        ("./name", False),
        ("owner/name@v1@v2", False),
        ("owner/na me", False),
    ],
)
def test_what_a_hub_id_looks_like(name: str, is_one: bool) -> None:
    assert is_hub_id(name) is is_one


def test_a_name_of_the_hub_is_kept_with_its_commit(hub: dict[str, str]) -> None:
    assert resolved_name("owner/model") == resolved_name("owner/model@v1") == f"owner/model@{OLD}"
    assert resolved_name(f"owner/model@{NEW}") == f"owner/model@{NEW}"
    assert resolve_model(f"owner/model@{NEW}").name == NEW


def test_a_data_folder_keeps_the_commit_that_it_learned_on(hub: dict[str, str], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    record_pin(data, resolved_name("owner/model", data))
    hub["main"] = NEW
    assert resolved_name("owner/model") == f"owner/model@{NEW}"
    assert resolved_name("owner/model", data) == f"owner/model@{OLD}"
    assert resolved_name("owner/model@main", data) == f"owner/model@{NEW}"
    assert pinned_by(data, "owner/other") == "owner/other"


@pytest.mark.parametrize(
    "record", ["", "{}", "[]", '{"model": "owner/model", "commit": 3}', '{"model": "owner/model"}']
)
def test_a_damaged_record_counts_as_none(record: str, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(record)
    assert pinned_by(tmp_path, "owner/model") in ("owner/model", "owner/model@3")


def test_other_models_have_no_record(tmp_path: Path) -> None:
    for name in ("pocket", str(tmp_path), "owner/model", "owner/model@main"):
        record_pin(tmp_path, name)
        assert pinned(name, tmp_path) == name
    assert not list(tmp_path.iterdir())


def test_an_unknown_revision_is_one_clear_line(hub: dict[str, str]) -> None:
    with pytest.raises(ModelNotFound, match="'owner/model@v9' is no folder here and could not be fetched") as caught:
        resolve_model("owner/model@v9")
    assert "\n" not in str(caught.value)
