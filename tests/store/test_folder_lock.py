"""One service and one learner for each data folder, and whoever is refused learns which process is there."""

import subprocess
import sys
from pathlib import Path

import pytest

from store.errors import FolderInUse
from store.folder_lock import lock_folder, process_at_work
from tests.served import ROOT

HOLDER = """
import sys, time
from pathlib import Path
from store.folder_lock import lock_folder
lock = lock_folder(Path(sys.argv[1]), "service")
print("locked", flush=True)
time.sleep(120)
"""


def test_a_second_one_is_refused_with_the_process_that_is_there(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), "--flag"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        there = f"process {holder.pid} (-c {tmp_path} --flag)"
        with pytest.raises(FolderInUse) as refused:
            lock_folder(tmp_path, "service", wait_s=0)
        lead = f"another service works on the data folder {tmp_path}: {there}"
        assert str(refused.value) == f"{lead}; end it, or name another folder with --data"
        assert process_at_work(tmp_path, "service") == there
        assert process_at_work(tmp_path, "learner") == ""
        lock_folder(tmp_path, "learner").release()
    finally:
        holder.kill()
        holder.wait()
    assert process_at_work(tmp_path, "service") == ""
    lock_folder(tmp_path, "service", wait_s=0).release()  # at once after a SIGKILL, whatever its file still holds


def test_a_lock_is_free_after_its_with_block_and_its_file_is_private(tmp_path: Path) -> None:
    with lock_folder(tmp_path, "learner"):
        with pytest.raises(FolderInUse, match="another learner"):
            lock_folder(tmp_path, "learner", wait_s=0)
    with lock_folder(tmp_path, "learner", wait_s=0):
        assert (tmp_path / "learner.lock").stat().st_mode & 0o777 == 0o600


def test_a_child_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = lock_folder(tmp_path, "service")
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    try:
        lock.release()
        lock_folder(tmp_path, "service", wait_s=10).release()  # it has the lock until it has started its program
    finally:
        child.kill()
        child.wait()


def test_looking_makes_no_file(tmp_path: Path) -> None:
    assert process_at_work(tmp_path, "service") == ""
    assert process_at_work(tmp_path / "nowhere", "service") == ""
    assert list(tmp_path.iterdir()) == []
