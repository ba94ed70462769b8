"""The rooms and the arrows between them: clients --HTTP--> service --> {policy, store} <-- learner, and no other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("service", "learner", "policy", "pocket", "store", "clients", "bench", "tests", "attune")
# What each room may import of ours, and what of the outside world it must not.
MAY = {
    "service": {"service", "policy", "store"},
    "learner": {"learner", "policy", "store"},
    "policy": {"policy"},
    "store": {"store"},
    "pocket": {"pocket"},
    "clients/python/attune": {"attune"},
    "clients/simulated": {"clients", "attune", "pocket"},
}
MUST_NOT = {
    "service": {"torch", "peft"},
    "learner": {"fastapi", "uvicorn", "starlette"},
    "policy": {"fastapi", "uvicorn", "starlette", "sqlite_utils", "sqlite3"},
    "store": {"torch", "transformers", "fastapi", "numpy"},
    "pocket": {"fastapi", "sqlite_utils"},
    "clients/python/attune": {"torch", "transformers", "fastapi", "numpy", "sqlite_utils", "pydantic"},
    "clients/simulated": {"torch", "transformers", "fastapi", "sqlite_utils"},
}


def imports_of(path: Path) -> set[str]:
    """Return the top-level names of all modules that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("room", MAY)
def test_imports_follow_the_arrows(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files, f"the room {room} is gone"
    wrong = []
    for path in files:
        names = imports_of(path)
        wrong += [f"{path.relative_to(ROOT)} imports {name}" for name in sorted((names & set(ROOMS)) - MAY[room])]
        wrong += [f"{path.relative_to(ROOT)} imports {name}" for name in sorted(names & MUST_NOT[room])]
    assert not wrong, "\n".join(wrong)


def test_the_test_itself_sees_an_import_inside_a_function(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f():\n    from learner.loop import run\n    import torch.nn\n")
    assert imports_of(tmp_path / "a.py") == {"learner", "torch"}
