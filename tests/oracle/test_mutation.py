"""The tests of the losses notice each changed constant or operator."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.oracle.mutation import FOLDER, RESULTS, ROOT, code_digest, mutants


def test_there_are_mutants_of_every_kind() -> None:
    changes = [mutant.change for mutant in mutants(FOLDER / "dpo.py")]
    assert len(changes) == len({(mutant.line, mutant.change, mutant.source) for mutant in mutants(FOLDER / "dpo.py")})
    assert any(change.startswith("2.0 -> 2.1 ") for change in changes)
    assert any("=>" in change for change in changes)


def test_a_digest_is_of_the_code_without_its_prose(tmp_path: Path) -> None:
    def digest(text: str) -> str:
        (tmp_path / "loss.py").write_text(text)
        return code_digest(tmp_path / "loss.py")

    plain = digest("SCALE = 2.0\n\ndef loss(x):\n    return SCALE * x\n")
    documented = '"""Losses."""\nSCALE = 2.0  # a factor\n"""A factor."""\n\n'
    assert digest(f'{documented}def loss(x: float) -> float:\n    """Return it."""\n    return SCALE * x\n') == plain
    assert digest("SCALE = 2.1\n\ndef loss(x):\n    return SCALE * x\n") != plain
    assert digest("SCALE = 2.0\n\ndef loss(x):\n    return SCALE / x\n") != plain


def test_the_record_is_of_the_files_as_they_are() -> None:
    recorded = {name: entry["code_sha256"] for name, entry in json.loads(RESULTS.read_text())["files"].items()}
    here = {path.name: code_digest(path) for path in FOLDER.glob("*.py")}
    changed = sorted(name for name, digest in here.items() if recorded.get(name) != digest)
    record = RESULTS.relative_to(ROOT)
    assert not changed, (
        f"{record} is of other code; run `python -m tests.oracle.mutation {' '.join(changed)}` and commit the record"
    )
    gone = sorted(recorded.keys() - here.keys())
    assert not gone, f"{record} has entries of files that are gone: {gone}; run `python -m tests.oracle.mutation`"


@pytest.mark.slow
def test_every_mutant_is_noticed() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.oracle.mutation"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
