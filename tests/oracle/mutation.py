"""Change one constant or operator of a loss file at a time, and see that a test notices.

`python -m tests.oracle.mutation [FILE ...]` prints each mutant that survives. It exits with 1 if one survives that is
not known to be equivalent. bench/results/mutation.json keeps the result of each file beside the digest of its code;
files that were not asked for keep their entry. Torch and TRL are imported once. Each mutant runs in a fork that imports
the changed module, so no file on disk changes.
"""

import argparse
import ast
import copy
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "learner" / "algorithms"
ORACLES = [f"tests/oracle/test_{name}.py" for name in ("trl", "finite_differences", "brute_force", "invariance")]
CPU_LIMIT_S = 180
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.BitAnd: ast.BitOr,
}
RESULTS = ROOT / "bench" / "results" / "mutation.json"
CONVERGED = "the iteration has converged long before; its fixed point, which tests check, is the same"
CURVATURE = "it sets the length of a damped step; the steps still end where the gradient is zero, which a test checks"
NOTHING = "the weights sum to 0, so what is divided is 0"
# Mutants that compute the same, by (file, function, change), and why.
EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "ilql.py",
        "expectile_loss",
        "error < 0 => error <= 0",
    ): "where the error is 0, its square is 0 whatever the factor",
    (
        "ilql.py",
        "shifted_logps",
        "working(q) - working(v).unsqueeze(-1) => working(q) + working(v).unsqueeze(-1)",
    ): "V is the same for all tokens of a state, so the softmax cancels it",
    (
        "reduction.py",
        "combine",
        "1.0 -> 1.05 in term.scale * (weights * values).sum() / (term.total if term.total > 0 else 1.0)",
    ): NOTHING,
    ("sft.py", "weighted_nll_loss", "1.0 -> 1.05 in totals.masked_fill(totals == 0, 1.0)"): NOTHING,
    (
        "example_weights.py",
        "_limit",
        "1e-12 -> 1.05e-12 in 1.0 + 1e-12",
    ): "a tolerance for rounding, far larger than the rounding error",
    (
        "example_weights.py",
        "_limit",
        "descending[num_cut] > (limit := (share * rest / (1.0 - num_cut * share))) * (1.0 + 1e-12) => "
        "descending[num_cut] >= (limit := (share * rest / (1.0 - num_cut * share))) * (1.0 + 1e-12)",
    ): "a sum that is cut to its own value does not change, nor does the limit",
    ("raters.py", "pair_raters", "60 -> 61 in the defaults of pair_raters"): CONVERGED,
    (
        "raters.py",
        "pair_raters",
        "0.5 -> 0.525 in np.where(np.isnan(fixed), prior_mean if np.isnan(fixed).all() else 0.5, fixed)",
    ): "a start; " + CONVERGED,
    ("raters.py", "_scores", "8 -> 9 in the defaults of _scores"): CONVERGED,
    ("raters.py", "_scores", "agreed * (1.0 - agreed) => agreed / (1.0 - agreed)"): CURVATURE,
    ("raters.py", "_scores", "1.0 - agreed => 1.0 + agreed"): CURVATURE,
    ("raters.py", "_scores", "1.0 -> 1.05 in 1.0 - agreed"): CURVATURE,
    ("raters.py", "_scores", "0.5 -> 0.525 in 0.5 * gradient"): CURVATURE,
    ("raters.py", "thumb_raters", "60 -> 61 in the defaults of thumb_raters"): CONVERGED,
    (
        "raters.py",
        "thumb_raters",
        "0.5 -> 0.525 in np.where(np.isnan(fixed), prior_mean if np.isnan(fixed).all() else 0.5, fixed)",
    ): "a start; " + CONVERGED,
}


class Mutant(NamedTuple):
    """One source file with one change."""

    file: str
    function: str
    line: int
    change: str
    source: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.file, self.function, self.change


def _without_annotations(tree: ast.Module) -> ast.Module:
    """Types decide nothing at run time, so they are not worth a mutant."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
    return tree


def code_digest(path: Path) -> str:
    """Return the SHA-256 of the code that a file runs: its syntax tree without prose, annotations and positions."""
    return hashlib.sha256(_canonical(_without_annotations(ast.parse(path.read_text()))).encode()).hexdigest()


def _canonical(node: object) -> str:
    """Return a tree as text. Empty fields are left out, since Python releases differ in which ones they have."""
    if isinstance(node, list):
        return f"[{' '.join(_canonical(item) for item in node if not _is_text(item))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [f"{name}={_canonical(value)}" for name, value in ast.iter_fields(node) if value not in (None, [])]
    return f"{type(node).__name__}({' '.join(fields)})"


def _is_text(node: object) -> bool:
    """Tell whether a statement is a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _changed(number: float) -> float:
    if isinstance(number, int):
        return number + 1
    return number * 1.05 if number else 0.05


def _short(node: ast.AST) -> str:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return f"the defaults of {node.name}"
    return " ".join(ast.unparse(node).split())[:90]


class _Node(NamedTuple):
    node: ast.AST
    statement: ast.AST
    function: str


def _nodes(node: ast.AST, statement: ast.AST, function: str) -> Iterator[_Node]:
    """Yield all nodes below, each with its innermost expression to show and its function."""
    for child in ast.iter_child_nodes(node):
        inside = function
        if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
            inside = f"{function}.{child.name}".lstrip(".")
        shown = (
            child
            if isinstance(child, (ast.stmt, ast.BinOp, ast.Compare, ast.BoolOp, ast.Call, ast.keyword))
            else statement
        )
        yield _Node(child, shown if not isinstance(child, (ast.Constant,)) else statement, inside)
        yield from _nodes(child, shown, inside)


def mutants(path: Path) -> Iterator[Mutant]:
    """Yield every mutant of a file: each number a little larger, each operator replaced by its opposite."""
    original = _without_annotations(ast.parse(path.read_text()))
    for index, (node, statement, function) in enumerate(_nodes(original, original, "")):
        tree = copy.deepcopy(original)
        target = [found.node for found in _nodes(tree, tree, "")][index]
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            assert isinstance(target, ast.Constant)
            target.value = _changed(node.value)
            change = f"{node.value} -> {target.value:.6g} in {_short(statement)}"
        elif isinstance(node, (ast.BinOp, ast.BoolOp)) and type(node.op) in SWAPS:
            target.op = SWAPS[type(node.op)]()  # type: ignore[attr-defined]
            change = f"{_short(node)} => {_short(target)}"
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
            target.ops = [SWAPS[type(node.ops[0])](), *node.ops[1:]]  # type: ignore[attr-defined]
            change = f"{_short(node)} => {_short(target)}"
        else:
            continue
        yield Mutant(
            path.name, function, getattr(node, "lineno", 0), change, ast.unparse(ast.fix_missing_locations(tree))
        )


class _Redirected(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module a changed source."""

    def __init__(self, name: str, source: str, path: Path) -> None:
        self.name, self.source, self.path = name, source, path

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self, origin=str(self.path)) if fullname == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.source, str(self.path), "exec"), module.__dict__)


def _tests_of(file: str) -> list[list[str]]:
    own = f"tests/learner/algorithms/test_{file}"
    return [[own] if (ROOT / own).exists() else ["tests/learner/algorithms/test_reduction.py"], ORACLES]


def is_noticed(mutant: Mutant) -> bool:
    """Run the file's own tests and the oracles on the mutant in a fork; True if one fails or never ends."""
    pid = os.fork()
    if pid == 0:
        _run_and_exit(mutant)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) != 0


def _run_and_exit(mutant: Mutant) -> None:
    import pytest

    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    name = f"learner.algorithms.{Path(mutant.file).stem}"
    sys.meta_path.insert(0, _Redirected(name, mutant.source, FOLDER / mutant.file))
    try:
        for tests in _tests_of(mutant.file):  # the file's own first: they notice most mutants
            code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-k", "not two_ranks", *tests])
            if code != 0:
                os._exit(int(code))
        os._exit(0)
    finally:
        os._exit(9)


def _import_once() -> None:
    """Import what every fork needs and no mutant changes."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # loading unused plugins takes longer than most tests
    import torch
    import torch._dynamo
    from trl import DPOTrainer, GRPOTrainer, KTOTrainer, RewardTrainer, RLOOTrainer  # noqa: F401
    from trl.experimental.cpo import CPOTrainer  # noqa: F401

    torch.set_num_threads(1)


def _keep(path: Path, tried: int, alive: Sequence[Mutant]) -> None:
    """Write the result of a file into the record, and drop the entries of files that are gone."""
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"files": {}}
    known["files"] = {name: entry for name, entry in known["files"].items() if (FOLDER / name).exists()}
    known["files"][path.name] = {
        "code_sha256": code_digest(path),
        "mutants": tried,
        "noticed": tried - len(alive),
        "equivalent": [
            {"function": mutant.function, "change": mutant.change, "why": EQUIVALENT[mutant.key]}
            for mutant in alive
            if mutant.key in EQUIVALENT
        ],
        "survived": [
            {"function": mutant.function, "change": mutant.change} for mutant in alive if mutant.key not in EQUIVALENT
        ],
    }
    known["files"] = dict(sorted(known["files"].items()))
    known["command"] = "python -m tests.oracle.mutation"
    known["mutants"] = sum(entry["mutants"] for entry in known["files"].values())
    known["survived"] = sum(len(entry["survived"]) for entry in known["files"].values())
    RESULTS.write_text(json.dumps(known, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description="Mutation test of learner/algorithms.")
    parser.add_argument("files", nargs="*", help="names such as dpo.py; all if none")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    _import_once()
    if is_noticed(Mutant("dpo.py", "", 0, "", (FOLDER / "dpo.py").read_text())):
        print("the tests fail on the unchanged code, so mutants cannot be judged; fix the tests first")
        return 2
    paths = sorted(FOLDER.glob("*.py")) if not arguments.files else [FOLDER / name for name in arguments.files]
    num_all, survivors, seen = 0, [], set()
    for path in paths:
        tried = list(mutants(path))
        alive = []
        for mutant in tried:
            if not is_noticed(mutant):
                alive.append(mutant)
                if mutant.key not in EQUIVALENT:
                    print(f"  survived: {mutant.file}:{mutant.line}, {mutant.key}", flush=True)
        num_all += len(tried)
        seen |= {mutant.key for mutant in tried if mutant.key in EQUIVALENT}
        unknown = [mutant for mutant in alive if mutant.key not in EQUIVALENT]
        survivors += unknown
        noticed, equivalent = len(tried) - len(alive), len(alive) - len(unknown)
        print(f"{path.name}: {len(tried)} mutants, {noticed} noticed, {equivalent} equivalent", flush=True)
        _keep(path, len(tried), alive)
    stale = [key for key in EQUIVALENT if key not in seen and key[0] in {path.name for path in paths}]
    print(
        f"{num_all} mutants, {len(survivors)} survived"
        + (f"; EQUIVALENT has entries of mutants that are gone: {stale}" if stale else "")
    )
    return 1 if survivors or stale else 0


if __name__ == "__main__":
    sys.exit(main())
