"""Commands that only read make no data folder, and name the one that was probably meant."""

from pathlib import Path

import pytest

from service.commands import create_key, list_keys, revoke_key
from service.doctor import examine
from service.folders import hint_of_another_folder
from store.database import open_store

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in which `make run` was used: its data folder lies in it, and the default one is not there."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "checkout").mkdir()
    monkeypatch.chdir(tmp_path / "checkout")
    open_store(Path("data")).close()
    return tmp_path / "home"


def test_the_doctor_looks_and_leaves_no_trace(home: Path) -> None:
    findings = {finding.check: finding for finding in examine({"model": "pocket-nano", "no_learner": True}, None)}
    assert all(findings[name].ok for name in ("data folder", "database", "versions", "disk", "keys"))
    assert "--data data" in findings["data folder"].detail
    assert list(home.iterdir()) == []
    found = {
        finding.check: finding
        for finding in examine({"model": "pocket-nano", "no_learner": True, "data": Path("data")}, None)
    }
    assert found["data folder"].detail == "data can be written"


def test_the_folder_of_another_model_is_named_too(home: Path) -> None:
    Path("data").rename("data-smollm2")
    assert hint_of_another_folder(home) == "; there is one here, from `make run`: name it with --data data-smollm2"
    assert hint_of_another_folder(Path("data-smollm2")) == ""


def test_keys_are_looked_for_where_there_is_a_service(home: Path, capsys: Capture) -> None:
    for look in (list_keys, lambda: revoke_key("k")):
        with pytest.raises(Exception, match="1"):
            look()
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert "--data data" in err
    assert list(home.iterdir()) == []


def test_a_new_key_is_printed_with_the_data_folder_it_is_for(home: Path, capsys: Capture) -> None:
    create_key("me")
    assert "--data data" in capsys.readouterr().err
    create_key("me", data=Path("data"))
    out, err = capsys.readouterr()
    assert out.startswith("at-")
    assert err.endswith("it is for the service on the data folder data\n")
