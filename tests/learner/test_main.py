"""`python -m learner` as a process: what it refuses, in one line, and one update with `--once`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from config.fields import as_flag, fields_of
from learner.__main__ import main, parser
from learner.settings import LearnerSettings
from store.database import connect, open_store
from store.learner import learner_status
from store.runs import unfinished_run
from store.versions import passed_candidate
from tests.learner.world import World

ROOT = Path(__file__).parent.parent.parent
SMALL = [
    "--device",
    "cpu",
    "--steps",
    "4",
    "--anchors.count",
    "8",
    "--gate.num-samples",
    "8",
    "--gate.max-tokens",
    "16",
]


def learner(*flags: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    bare = {name: value for name, value in os.environ.items() if not name.startswith("ATTUNE_")}
    return subprocess.run(
        [sys.executable, "-m", "learner", *flags],
        cwd=ROOT,
        env=bare | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_check_is_quick_and_needs_no_torch(tiny: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from learner.__main__ import main; "
        f"status = main(['--check', '--model', {str(tiny)!r}, '--data', {str(tmp_path / 'data')!r}]); "
        "sys.exit(status or 10 * ('torch' in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "no-such-model"], "no model 'no-such-model'"),
        (["--steps", "none"], "--steps cannot be 'none'"),
        (["--config", "/nowhere/attune.toml"], "cannot be read"),
        (["--config"], "--config needs a value"),
        (["--steps"], "--steps needs a value"),
        (["--step", "3"], "--step is no flag of the learner; did you mean --steps?"),
        (["--max-kl", "-inf"], "--max-kl cannot be '-inf'"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check", "--data", str(tmp_path), *flags]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_a_data_folder_that_cannot_be_used_is_one_line(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "attune.db").write_bytes(b"this is not a database" * 100)
    assert main(["--check", "--data", str(tmp_path), "--model", str(tiny)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_every_setting_is_a_flag_with_its_description() -> None:
    text = " ".join(parser().format_help().split())
    for path in (*(path for path, _ in fields_of(LearnerSettings)), "config", "check", "once"):
        assert f"{as_flag(path)} " in text, path


def test_once_makes_one_version_and_ends(tiny: Path, world: World) -> None:
    world.likes_short(3)
    done = learner("--once", "--data", str(world.folder), "--model", str(tiny), *SMALL)
    assert done.returncode == 0, done.stderr
    assert passed_candidate(world.db) is not None
    assert learner_status(world.db).state == "down"
    assert done.stdout == ""
    again = learner("--once", "--data", str(world.folder), "--model", str(tiny), *SMALL)
    candidate = passed_candidate(world.db)
    assert candidate is not None
    assert (again.returncode, len(again.stdout.splitlines())) == (0, 1)
    assert f"version {candidate.number} passed its gate and waits to be served" in again.stdout


def test_once_that_fails_ends_with_the_reason(tiny: Path, world: World) -> None:
    world.likes_short(8)
    done = learner(
        "--once",
        "--data",
        str(world.folder),
        "--model",
        str(tiny),
        *SMALL,
        "--optimizer.learning-rate",
        "0.5",
        "--max-kl",
        "0.001",
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "no weights after the first steps were within the limits (KL to the live version"
    )
    assert done.stdout == ""


def test_once_with_nothing_waiting_reports_it(tiny: Path, world: World) -> None:
    done = learner("--once", "--data", str(world.folder), "--model", str(tiny), *SMALL)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    assert "nothing waits to be learned from" in done.stdout


def test_another_base_model_than_the_folder_began_with_is_refused(tiny: Path, tmp_path: Path) -> None:
    World(tmp_path / "data", "of another model")
    done = learner("--once", "--data", str(tmp_path / "data"), "--model", str(tiny), *SMALL)
    assert done.returncode == 1
    assert "--model" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_one_update_that_ctrl_c_cuts_short_ends_with_130(
    tiny: Path, world: World, number: signal.Signals, status: int
) -> None:
    world.likes_short(3)
    flags = [
        "--once",
        "--data",
        str(world.folder),
        "--model",
        str(tiny),
        *SMALL,
        "--steps",
        "10000",
        "--passes",
        "10000",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "learner", *flags], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while (learner_status(world.db).progress or {}).get("phase") != "train" and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(30) == status
        assert unfinished_run(world.db) is not None
    finally:
        process.kill()


def test_it_ends_soon_when_it_is_asked_to(tiny: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    open_store(data).close()
    command = [sys.executable, "-m", "learner", "--data", str(data), "--model", str(tiny), *SMALL]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    db = connect(data)
    try:
        deadline = time.monotonic() + 120
        while learner_status(db).detail == {} and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert learner_status(db).state == "down"
    finally:
        process.kill()
        db.close()
