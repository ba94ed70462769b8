"""A data folder is its owner's alone; the group reads the versions where that is asked for, and nothing else."""

import contextlib
import stat
from pathlib import Path

import pytest

from store.database import FILE_NAME, connect, open_store, transaction
from store.permissions import open_mode, share_folder, share_versions
from store.raters import ensure_rater


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_and_its_database_with_journals_are_private(tmp_path: Path) -> None:
    with contextlib.closing(open_store(tmp_path / "data")) as db:
        with transaction(db):
            ensure_rater(db, "ann")
        modes = {path.name: mode(path) for path in (tmp_path / "data").iterdir()}
    assert mode(tmp_path / "data") == 0o700
    assert modes == dict.fromkeys((FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"), 0o600)


def test_an_open_folder_is_closed_at_the_next_start_with_a_line_for_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "data"
    held = open_store(folder)  # so that its journals stay
    with transaction(held):
        ensure_rater(held, "ann")
    names = (FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm")
    folder.chmod(0o755)
    for name in names:
        (folder / name).chmod(0o644)
    assert open_mode(folder) == 0o755
    open_store(folder).close()
    assert (mode(folder), open_mode(folder)) == (0o700, 0)
    assert {mode(folder / name) for name in names} == {0o600}
    lines = [record.message for record in caplog.records]
    assert lines[0] == f"{folder} was open to others (mode 755); it is closed now (mode 700)"
    assert len(lines) == 4
    caplog.clear()
    open_store(folder).close()
    assert not caplog.records
    held.close()


def test_a_folder_for_everybody_keeps_its_mode(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tmp_path.chmod(0o1777)
    open_store(tmp_path).close()
    assert mode(tmp_path) == 0o777 | stat.S_ISVTX
    assert mode(tmp_path / FILE_NAME) == 0o600
    assert "name another --data folder" in caplog.text


def test_the_group_reads_versions_where_that_is_asked_for_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    open_store(folder).close()
    weights = folder / "versions" / "000001" / "adapter_model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"w")
    (folder / "logs").mkdir()
    (folder / "notes.txt").write_text("mine")
    for path in (weights, weights.parent):
        path.chmod(0o700)
    share_versions(folder, is_shared=True)
    assert (mode(folder), open_mode(folder)) == (0o710, 0)
    assert [mode(path) for path in (weights, weights.parent, folder / "versions")] == [0o640, 0o750, 0o750]
    assert [mode(folder / name) for name in ("logs", "notes.txt", FILE_NAME)] == [0o700, 0o600, 0o600]
    open_store(folder).close()  # by a command that does not know the setting
    assert mode(folder) == 0o710
    share_versions(folder, is_shared=False)
    assert mode(folder) == 0o700


def test_sharing_leaves_what_a_link_points_to(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    secret.chmod(0o600)
    (tmp_path / "version").mkdir()
    (tmp_path / "version" / "link").symlink_to(secret)
    share_folder(tmp_path / "version")
    assert mode(secret) == 0o600


def test_a_connection_does_not_open_the_file_again(tmp_path: Path) -> None:
    open_store(tmp_path / "data").close()
    connect(tmp_path / "data").close()
    assert mode(tmp_path / "data" / FILE_NAME) == 0o600
