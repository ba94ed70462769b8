"""The tests of the losses notice a changed constant or operator, each of them."""

import subprocess
import sys

import pytest

from tests.oracle.mutation import FOLDER, ROOT, mutants


def test_there_are_mutants_of_every_kind() -> None:
    changes = [mutant.change for mutant in mutants(FOLDER / "dpo.py")]
    assert len(changes) == len({(mutant.line, mutant.change, mutant.source) for mutant in mutants(FOLDER / "dpo.py")})
    assert any(change.startswith("2.0 -> 2.1 ") for change in changes)
    assert any("=>" in change for change in changes)


@pytest.mark.slow
def test_every_mutant_is_noticed() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.oracle.mutation"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
