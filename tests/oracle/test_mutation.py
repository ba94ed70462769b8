"""The tests of the losses notice a changed constant or operator, each of them."""

import json
import subprocess
import sys
from hashlib import sha256

import pytest

from tests.oracle.mutation import FOLDER, RESULTS, ROOT, mutants


def test_there_are_mutants_of_every_kind() -> None:
    changes = [mutant.change for mutant in mutants(FOLDER / "dpo.py")]
    assert len(changes) == len({(mutant.line, mutant.change, mutant.source) for mutant in mutants(FOLDER / "dpo.py")})
    assert any(change.startswith("2.0 -> 2.1 ") for change in changes)
    assert any("=>" in change for change in changes)


def test_the_record_is_of_the_files_as_they_are() -> None:
    recorded = {name: entry["sha256"] for name, entry in json.loads(RESULTS.read_text())["files"].items()}
    here = {path.name: sha256(path.read_bytes()).hexdigest() for path in FOLDER.glob("*.py")}
    changed = sorted(name for name, digest in here.items() if recorded.get(name) != digest)
    record = RESULTS.relative_to(ROOT)
    assert not changed, (
        f"{record} is of other sources; run `python -m tests.oracle.mutation {' '.join(changed)}` and keep what it writes"
    )
    gone = sorted(recorded.keys() - here.keys())
    assert not gone, (
        f"{record} has entries for files that are gone; delete it, and run `python -m tests.oracle.mutation`: {gone}"
    )


@pytest.mark.slow
def test_every_mutant_is_noticed() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.oracle.mutation"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
