"""The arrows between rooms: clients --HTTP--> service --> {policy, store, config} <-- learner, and no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("service", "learner", "policy", "pocket", "store", "config", "clients", "bench", "tests", "attune")
# What each room may import of ours, and what of the outside world it must not.
MAY = {
    "service": {"service", "policy", "store", "config"},
    "learner": {"learner", "policy", "store", "config"},
    "policy": {"policy"},
    "store": {"store"},
    "config": {"config"},
    "pocket": {"pocket"},
    "clients/python/attune": {"attune"},
    "clients/simulated": {"clients", "attune", "pocket"},
}
MUST_NOT = {
    "service": {"torch", "peft"},
    "learner": {"fastapi", "uvicorn", "starlette"},
    "policy": {"fastapi", "uvicorn", "starlette", "sqlite_utils", "sqlite3"},
    "store": {"torch", "transformers", "fastapi", "numpy"},
    "config": {"torch", "transformers", "fastapi", "numpy", "sqlite_utils", "httpx", "typer", "openai", "tokenizers"},
    "pocket": {"fastapi", "sqlite_utils"},
    "clients/python/attune": {"torch", "transformers", "fastapi", "numpy", "sqlite_utils", "pydantic"},
    "clients/simulated": {"torch", "transformers", "fastapi", "sqlite_utils"},
}
# The learner's wings, and what each stands on beside itself. The pure losses stand on nothing of the learner's.
WINGS: dict[str, set[str]] = {
    "algorithms": set(),
    "data": {"algorithms"},
    "model": {"algorithms", "data"},
    "gate": {"data", "model"},
    "reward_model": {"algorithms", "data", "model"},
    "methods": {"algorithms", "data", "gate", "model", "reward_model"},
}
# Of the files at the top of the learner, which conduct, a wing may import these.
GROUND = {"cost", "errors", "settings"}
# Folders of other rooms that a file may name by path.
FOLDERS = {"service/routes/page.py": {"clients"}}  # the service serves the page's files, and imports none of them


def modules_of(path: Path) -> set[str]:
    """Return the names of all modules that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def imports_of(path: Path) -> set[str]:
    """Return the top-level names of all modules that a file imports."""
    return {name.split(".")[0] for name in modules_of(path)}


def folders_of(path: Path) -> Iterator[str]:
    """Yield the rooms' folders that a file names: `x / "room"`, `x.joinpath("room")`, or an existing "room/file"."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        parts = []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            parts = [node.right]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "joinpath":
            parts = node.args
        names = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        yield from (name for name in names if name in ROOMS and (ROOT / name).is_dir())
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[\w./-]+", node.value):
            first, _, rest = node.value.partition("/")
            if first in ROOMS and rest and (ROOT / node.value).exists():
                yield node.value


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


@pytest.mark.parametrize("room", MAY)
def test_no_room_names_the_folder_of_another_by_path(room: str) -> None:
    wrong = []
    for path in sorted((ROOT / room).rglob("*.py")):
        name = str(path.relative_to(ROOT))
        named = {folder for folder in folders_of(path) if folder.split("/")[0] not in room.split("/")}
        wrong += [f"{name} names {folder}" for folder in sorted(named - FOLDERS.get(name, set()))]
    assert not wrong, "\n".join(wrong)


def learners_imports(path: Path) -> set[str]:
    """Return the wings and top files of the learner that a file imports, such as `gate` or `loop`."""
    parts = [name.split(".") for name in modules_of(path)]
    names = {name[1] for name in parts if name[0] == "learner" and len(name) > 1}
    return {name for name in names if (ROOT / "learner" / name).is_dir() or (ROOT / "learner" / f"{name}.py").exists()}


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_of_the_learner_stands_on_what_it_may(wing: str) -> None:
    files = sorted((ROOT / "learner" / wing).rglob("*.py"))
    assert files, f"the wing learner/{wing} is gone"
    may = {wing} | WINGS[wing] | (GROUND if wing != "algorithms" else set())
    wrong = [f"{path.relative_to(ROOT)} imports {name}" for path in files for name in learners_imports(path) - may]
    assert not wrong, "\n".join(sorted(wrong))


def test_every_folder_of_the_learner_is_a_wing() -> None:
    assert {path.parent.name for path in (ROOT / "learner").glob("*/__init__.py")} == set(WINGS)


def test_the_test_itself_sees_an_import_inside_a_function(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f():\n    from learner.loop import run\n    import torch.nn\n")
    assert imports_of(tmp_path / "a.py") == {"learner", "torch"}
    assert learners_imports(tmp_path / "a.py") == {"loop"}
    (tmp_path / "b.py").write_text("from learner import update\nfrom learner.gate.checks import Check\n")
    assert learners_imports(tmp_path / "b.py") == {"update", "gate"}


def test_the_test_itself_sees_a_path_to_another_room(tmp_path: Path) -> None:
    for line in ('B = ROOT / "pocket" / "weights"', 'B = ROOT.joinpath("pocket", "x")', 'B = Path("pocket/weights")'):
        (tmp_path / "a.py").write_text(line + "\n")
        assert {folder.split("/")[0] for folder in folders_of(tmp_path / "a.py")} == {"pocket"}
    (tmp_path / "a.py").write_text('METRIC, MODEL = "policy/kl", "pocket"\n')
    assert not list(folders_of(tmp_path / "a.py"))


def circles(room: str) -> list[set[str]]:
    """Return the sets of a room's files that import each other in a circle, by module name."""
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / room).rglob("*.py")}
    arrows = {name: modules_of(path) & files.keys() - {name} for name, path in files.items()}
    reached = {name: set(targets) for name, targets in arrows.items()}
    changed = True
    while changed:
        changed = False
        for seen in reached.values():
            more = set().union(*(reached[target] for target in seen)) - seen
            if more:
                seen |= more
                changed = True
    return [
        {name, *(other for other in seen if name in reached[other])} for name, seen in reached.items() if name in seen
    ]


@pytest.mark.parametrize("room", ["service", "learner", "policy", "store", "config"])
def test_no_files_of_a_room_import_each_other_in_a_circle(room: str) -> None:
    assert not circles(room)


def test_no_route_imports_another_route() -> None:
    wrong = [
        f"{path.name} imports {module}"
        for path in sorted((ROOT / "service" / "routes").glob("*.py"))
        for module in sorted(modules_of(path))
        if module.startswith("service.routes.")
    ]
    assert not wrong, "\n".join(wrong)
