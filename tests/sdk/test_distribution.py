"""The SDK's package: typed, light, without our other rooms, and with two clients from one source."""

import os
import re
import subprocess
import sys
from pathlib import Path

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
