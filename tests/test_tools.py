"""The tools of whoever works here: make's targets, and the seconds per room at the end of a test run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import lines_of, room_of

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("nodeid", "room"),
    [
        ("tests/store/test_ids.py::test_one", "store"),
        ("tests/learner/gate/test_checks.py::Test::test_two[a/b]", "learner"),
        ("tests/test_arrows.py::test_three", "test_arrows"),
    ],
)
def test_a_test_belongs_to_the_room_of_its_folder(nodeid: str, room: str) -> None:
    assert room_of(nodeid) == room


def test_the_slowest_room_comes_first_and_the_sum_last() -> None:
    lines = lines_of({"store": 1.25, "learner": 30.0}, {"store": 7, "learner": 3})
    assert [line.split() for line in lines] == [
        ["learner", "30.0", "s", "3", "tests"],
        ["store", "1.2", "s", "7", "tests"],
        ["all", "31.2", "s", "10", "tests"],
    ]


def test_the_last_lines_of_a_run_show_the_seconds_per_room() -> None:
    file = "tests/pocket/test_skills.py"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only", file],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    first = next(line for line in ran.stdout.splitlines() if line.startswith(file))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", first],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    last = ran.stdout.splitlines()[-4:]
    assert "seconds per room" in last[0]
    assert re.fullmatch(r"pocket +\d+\.\d s +1 tests", last[1])
    assert re.fullmatch(r"all +\d+\.\d s +1 tests", last[2])


def test_make_help_shows_every_target_of_the_makefile() -> None:
    targets = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M)
    shown = subprocess.run(["make", "help"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    listed = re.findall(r"^make ([a-z-]+) +\S", shown, re.M)
    assert sorted(listed) == sorted(targets)


@pytest.mark.parametrize(
    ("variables", "model", "data", "is_fetched"),
    [
        ((), "pocket", "data", False),
        (("MODEL=smollm2",), "smollm2", "data-smollm2", True),
        (("MODEL=smollm2", "DATA=mine"), "smollm2", "mine", True),
        (("MODEL=some/folder",), "some/folder", "data-some-folder", False),
        (("MODEL=/models/one.gguf",), "/models/one.gguf", "data-models-one.gguf", False),
        (("MODEL=pocket-nano",), "pocket-nano", "data-pocket-nano", False),
    ],
)
def test_make_run_fetches_a_model_and_gives_it_a_data_folder(
    variables: tuple[str, ...], model: str, data: str, is_fetched: bool
) -> None:
    command = ["make", "--dry-run", "--always-make", "run", *variables]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert f"--data {data} --model {model}" in shown
    assert (f"attune models get {model}" in shown) is is_fetched


def test_make_alone_is_make_run() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.findall(r"^([a-z][a-z-]*):", makefile, re.M)[0] == "run"
    assert ".DEFAULT_GOAL" not in makefile
