"""Both distributions as wheels: their names are free, they install beside nothing of ours, and serve a chat."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
import venv
import zipfile
from contextlib import suppress
from email.parser import Parser
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.served import ROOT, free_port

SDK = ROOT / "clients" / "python"
TAKEN = ("attune", "attune-sdk")  # distributions of that name on the package index are somebody else's
SERVER, CLIENT = "attune-server", "attune-client"
START_S = 120


def project(folder: Path) -> dict[str, Any]:
    """Return the [project] table of a pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return table


def test_the_names_are_ours_and_the_server_wants_exactly_its_client() -> None:
    server, client = project(ROOT), project(SDK)
    assert (server["name"], client["name"]) == (SERVER, CLIENT)
    assert server["version"] == client["version"]
    assert [need for need in server["dependencies"] if need.startswith(CLIENT)] == [
        f"{CLIENT}[cli]=={client['version']}"
    ]
    names = {re.split(r"[^\w.-]", need)[0].lower() for need in server["dependencies"]}
    assert not names & set(TAKEN)


def tracked() -> list[str]:
    """Return the files of the repository that are here."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.splitlines() if (ROOT / name).exists()]


def test_nothing_asks_for_somebody_elses_package() -> None:
    asks = re.compile(r"pip install[^\n]*[ '\"](attune|attune-sdk)(\[\w+\])?['\"\s]")
    named = [name for name in tracked() if name.endswith((".md", ".py", ".toml", "file", ".sh"))]
    assert not [name for name in named if name != "CHANGELOG.md" and asks.search((ROOT / name).read_text())]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both wheels, built of copies: a build leaves folders behind in its source."""
    built, source = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("source")
    for name in tracked():
        if not name.startswith(("tests/", "docs/", "bench/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(built)]
    subprocess.run([*build, str(source / "clients" / "python"), str(source)], check=True)
    return built


def wheel_of(wheels: Path, name: str) -> Path:
    """Return the wheel of a distribution."""
    (found,) = wheels.glob(f"{name.replace('-', '_')}-*.whl")
    return found


def test_the_wheels_hold_the_page_the_models_and_every_module(wheels: Path) -> None:
    with zipfile.ZipFile(wheel_of(wheels, SERVER)) as server:
        held = set(server.namelist())
        (about,) = (server.read(name).decode() for name in held if name.endswith(".dist-info/METADATA"))
    needs = Parser().parsestr(about).get_all("Requires-Dist", [])
    assert f"{CLIENT}[cli]=={project(SDK)['version']}" in needs
    rooms = ("config/", "service/", "learner/", "policy/", "pocket/", "store/", "clients/simulated/", "clients/web/")
    wanted = {name for name in tracked() if name.startswith(rooms)} - held
    assert not {name for name in wanted if name.endswith(".py") or name.startswith(("clients/web/", "pocket/weights/"))}
    with zipfile.ZipFile(wheel_of(wheels, CLIENT)) as client:
        assert {name.partition("/")[0] for name in client.namelist() if ".dist-info" not in name} == {"attune"}


def new_environment(folder: Path) -> Path:
    """Make an environment without anything of ours, and return its Python."""
    venv.create(folder, with_pip=True)
    return folder / "bin" / "python"


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what leads to the source tree."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def run(*command: object, away: Path, **environment: str) -> str:
    """Run a command in a folder that holds no source, and return what it prints."""
    known = {**clean_environment(), **environment}
    arguments = [str(part) for part in command]
    done = subprocess.run(arguments, cwd=away, env=known, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def chat_with_installed(bare: Path, away: Path) -> None:
    """Serve a chat with what is installed in an environment."""
    url = f"http://127.0.0.1:{free_port()}"
    attune, log = bare / "bin" / "attune", away / "serve.log"
    flags = ["--port", url.rpartition(":")[2], "--data", str(away / "data"), "--model", "pocket-nano", "--no-learner"]
    with log.open("wb") as out:
        command = [str(attune), "serve", *flags]
        served = subprocess.Popen(command, cwd=away, env=clean_environment(), stdout=out, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + START_S
        while not is_ready(url):
            assert served.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        assert run(attune, "chat", "Name three animals.", "--max-tokens", "8", away=away, ATTUNE_BASE_URL=url)
        assert run(attune, "--version", away=away) == project(SDK)["version"]
        assert httpx.get(url + "/v1/version").json()["version"] == project(ROOT)["version"]
        assert "<title>" in httpx.get(url + "/").text
    finally:
        served.terminate()
        served.wait(60)


def is_ready(url: str) -> bool:
    """Whether a service answers there."""
    with suppress(httpx.HTTPError):
        return httpx.get(url + "/readyz", timeout=2).status_code == 200
    return False


@pytest.mark.slow
def test_both_wheels_serve_a_chat_beside_other_packages_alone(wheels: Path, tmp_path: Path) -> None:
    """The other packages are those of this environment; ours come from the wheels. It needs no package index."""
    python = new_environment(tmp_path / "bare")
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", *wheels.glob("*.whl"), away=tmp_path)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", away=tmp_path)
    Path(site, "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")  # its own .pth files are not read
    look = "import attune, service, pocket; print(attune.__file__, service.__file__, pocket.__file__)"
    assert all(path.startswith(site) for path in run(python, "-c", look, away=tmp_path).split())
    chat_with_installed(tmp_path / "bare", tmp_path)


@pytest.mark.slow
def test_both_wheels_install_in_a_bare_environment_and_serve_a_chat(wheels: Path, tmp_path: Path) -> None:
    """Every dependency comes from the package index: gigabytes."""
    python = new_environment(tmp_path / "bare")
    wanted = ["--find-links", wheels, "-c", ROOT / "constraints.txt", SERVER]
    run(python, "-m", "pip", "install", "-q", *wanted, away=tmp_path)
    run(python, "-m", "pip", "check", away=tmp_path)
    chat_with_installed(tmp_path / "bare", tmp_path)


@pytest.mark.slow
def test_the_client_installs_alone_and_is_light(wheels: Path, tmp_path: Path) -> None:
    python, wheel = new_environment(tmp_path / "bare"), wheel_of(wheels, CLIENT)
    run(python, "-m", "pip", "install", "-q", wheel, away=tmp_path)
    look = (
        "import importlib.metadata as m, sys, time;"
        "began = time.process_time(); import attune; spent = time.process_time() - began;"
        "attune.Client().close(); assert 'torch' not in sys.modules; print(spent);"
        "print(*sorted(d.name for d in m.distributions()))"
    )
    tried = [run(python, "-c", look, away=tmp_path).splitlines() for _ in range(3)]
    assert min(float(lines[0]) for lines in tried) < 0.2
    assert "torch" not in tried[0][1]
    attune = tmp_path / "bare" / "bin" / "attune"
    without_extra = subprocess.run([attune, "versions"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert without_extra.returncode == 1
    assert without_extra.stderr.strip().endswith("install them with: pip install 'attune-client[cli]'")
    run(python, "-m", "pip", "install", "-q", f"{wheel}[cli]", away=tmp_path)
    assert "chat" in run(attune, "--help", away=tmp_path)
