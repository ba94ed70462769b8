"""`attune doctor` on installations in any state: it finds what is wrong, never crashes, and changes nothing."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from policy.model import model_digest
from service.commands import register
from service.doctor import Finding, examine
from store.database import FILE_NAME, connect, open_store, transaction
from store.folder_lock import lock_folder
from store.migrations import migrations
from store.raters import ensure_rater
from store.versions import ensure_base_version
from tests.served import ROOT


def examined(folder: Path, **flags: object) -> dict[str, Finding]:
    flags = {"data": folder, "model": "pocket-nano", "no_learner": True, "port": 0, **flags}
    return {finding.check: finding for finding in examine(flags, None)}


def filled(folder: Path) -> Path:
    """A store with a few pages."""
    with contextlib.closing(open_store(folder)) as db, transaction(db):
        ensure_base_version(db, model_digest("pocket-nano"))
        for number in range(2000):
            ensure_rater(db, f"rater-{number:032d}")
    return folder


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mode, path.read_bytes()) for path in sorted(folder.iterdir())}


def test_it_makes_no_folder_also_where_the_learner_is_checked(tmp_path: Path) -> None:
    found = examined(tmp_path / "data", no_learner=False)
    assert found["data folder"].ok
    assert found["learner"].ok
    assert list(tmp_path.iterdir()) == []


def test_a_sound_store_stays_as_it_is(tmp_path: Path) -> None:
    before = state(filled(tmp_path / "data"))
    found = examined(tmp_path / "data")
    assert all(found[name].ok for name in ("data folder", "database", "versions", "keys"))
    assert state(tmp_path / "data") == before


@pytest.mark.parametrize("start", [0, 100, 4096, 8192, 20_000])
def test_a_malformed_database_is_a_finding(start: int, tmp_path: Path) -> None:
    path = filled(tmp_path / "data") / FILE_NAME
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * 40_000)
    damaged = path.read_bytes()
    found = examined(tmp_path / "data")
    assert not found["database"].ok
    assert "damaged" in found["database"].detail or "is not a usable database" in found["database"].detail
    assert "\n" not in found["database"].detail
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\x00", os.urandom(5000), b"<html>" * 999])
def test_a_file_that_is_no_database_is_a_finding_or_empty(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    found = examined(tmp_path)
    assert found["database"].ok == (content == b"")
    assert (tmp_path / FILE_NAME).read_bytes() == content


def damaged(folder: Path) -> Path:
    """A store whose tables of keys and versions cannot be read, though it opens."""
    path = filled(folder) / FILE_NAME
    with contextlib.closing(connect(folder)) as db:
        names = ("api_keys", "sqlite_autoindex_api_keys_1", "sqlite_autoindex_api_keys_2", "versions")
        rows = db.execute(f"SELECT rootpage FROM sqlite_master WHERE name IN {names}").fetchall()
    with path.open("r+b") as file:
        for (page,) in rows:
            file.seek((page - 1) * 4096)
            file.write(b"\xa5" * 4096)
    return folder


@pytest.mark.parametrize("command", ["keys list", "keys create web", "keys revoke x", "serve"])
def test_every_command_ends_with_one_line_on_a_malformed_database(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer()
    register(app)
    more = ["--model", "pocket-nano", "--port", "0", "--no-learner"] if command == "serve" else []
    with pytest.raises(SystemExit) as ended:
        app([*command.split(), "--data", str(damaged(tmp_path)), *more])
    assert ended.value.code == 1
    assert len([line for line in capsys.readouterr().err.splitlines() if "malformed" in line]) == 1


@pytest.mark.fire
def test_the_learner_ends_with_one_line_on_a_malformed_database(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "learner", "--once", "--data", str(damaged(tmp_path)), "--model", "pocket-nano"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert "malformed" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_store_of_an_older_attune_is_not_brought_up_to_date(tmp_path: Path) -> None:
    with contextlib.closing(connect(tmp_path)) as db:
        migrations.apply(db, stop_before="m002_completion_ids")
        db.conn.commit()
    before = (tmp_path / FILE_NAME).read_bytes()
    found = examined(tmp_path)
    assert found["database"] == Finding("database", True, "of an older Attune: the next start brings it up to date")
    assert found["versions"].ok
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_a_folder_in_which_nothing_can_be_made_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    found = examined(tmp_path / "file" / "data")
    assert not found["data folder"].ok
    assert "--data" in found["data folder"].detail


def test_it_names_who_works_on_the_folder_and_whom_it_is_open_to(tmp_path: Path) -> None:
    filled(tmp_path / "data").chmod(0o755)
    with lock_folder(tmp_path / "data", "service"):
        detail = examined(tmp_path / "data")["data folder"].detail
    assert f"service: process {os.getpid()} (" in detail
    assert "mode 755" in detail
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o755


def test_a_check_that_breaks_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_: object) -> str:
        raise KeyError("surprise")

    monkeypatch.setattr("service.doctor._memory", breaks)
    assert examined(tmp_path)["memory"].detail == "the check failed (KeyError: 'surprise')"


def test_a_system_that_does_not_count_its_free_memory_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.doctor.available_memory", lambda: None)  # macOS
    finding = examined(tmp_path / "data")["memory"]
    assert (finding.ok, finding.detail) == (True, "this system does not say how much is free")


def test_it_names_the_runner_and_why(tmp_path: Path) -> None:
    finding = examined(tmp_path / "data")["runner"]
    assert finding.ok
    assert finding.detail.startswith(("openvino, since ", "llamacpp, since "))
