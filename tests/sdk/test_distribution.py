"""The SDK's package: typed, light, without our other rooms, and with two clients from one source."""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.sdk.test_examples import NAMES

ROOT = Path(__file__).parents[2]
SDK = ROOT / "clients" / "python"


def test_the_sync_client_is_the_async_one_without_async() -> None:
    done = subprocess.run(
        [sys.executable, SDK / "make_sync.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"run `python clients/python/make_sync.py`; it would change:\n{done.stdout}"


def test_that_program_uses_every_public_name() -> None:
    text = (ROOT / "tests" / "sdk" / "whole_surface.py").read_text()
    closed_by_with = {"attune.Client.close", "attune.AsyncClient.close"}
    assert len(NAMES) > 90
    assert not [
        name for name in NAMES if not re.search(rf"\b{name.rpartition('.')[2]}\b", text) and name not in closed_by_with
    ]


def test_a_strict_type_checker_passes_a_program_that_uses_all_of_it(tmp_path: Path) -> None:
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "--cache-dir", str(tmp_path)]
    done = subprocess.run(
        [*mypy, "tests/sdk/whole_surface.py"],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(SDK)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_import_is_quick_and_brings_nothing_heavy() -> None:
    look = (
        "import sys, time; began = time.process_time(); import attune; spent = time.process_time() - began;"
        "print(spent, *sys.modules)"
    )
    tried = [
        subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(5)
    ]
    assert min(float(spent) for spent, *_ in tried) < 0.2
    brought = {name.partition(".")[0] for name in tried[0][1:]}
    assert not brought & {
        "torch",
        "numpy",
        "typer",
        "rich",
        "openai",
        "pydantic",
        "httpx",
        "asyncio",
        "matplotlib",
        "transformers",
    }


@pytest.mark.slow
def test_the_wheel_works_alone_in_a_bare_environment(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    copy = tmp_path / "source"
    subprocess.run(["cp", "-r", str(SDK), str(copy)], check=True)  # a build leaves folders behind in its source
    subprocess.run([*build, str(copy)], check=True)
    (wheel,) = tmp_path.glob("attune-*.whl")
    venv.create(tmp_path / "bare", with_pip=True)
    python = tmp_path / "bare" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", wheel], check=True)
    look = (
        "import importlib.metadata as m, sys, time;"
        "began = time.process_time(); import attune; spent = time.process_time() - began;"
        "attune.Client().close(); assert 'torch' not in sys.modules; print(spent);"
        "print(*sorted(d.name for d in m.distributions()))"
    )
    tried = [
        subprocess.run(
            [python, "-c", look], capture_output=True, text=True, check=True, cwd=tmp_path
        ).stdout.splitlines()
        for _ in range(3)
    ]
    assert min(float(lines[0]) for lines in tried) < 0.2
    assert "torch" not in tried[0][1]
    without_extra = subprocess.run(
        [tmp_path / "bare" / "bin" / "attune", "versions"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert without_extra.returncode == 1
    assert (
        without_extra.stderr.strip()
        == "attune: the command needs two more packages; install them with: pip install 'attune[cli]'"
    )
    subprocess.run([python, "-m", "pip", "install", "-q", f"{wheel}[cli]"], check=True)
    done = subprocess.run(
        [tmp_path / "bare" / "bin" / "attune", "--help"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "chat" in done.stdout
