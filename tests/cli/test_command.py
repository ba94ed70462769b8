"""The command as a whole: its start time, its exit status, and the commands of installed packages."""

import os
import subprocess
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer

from attune import __version__
from attune.cli import app as command
from tests.sdk.fake_service import FakeService


def attune(*arguments: str, stdin: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own."""
    environ = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-m", "attune", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env=environ,
        timeout=60,
    )


def test_piped_in_and_out(fake: FakeService) -> None:
    done = attune("chat", stdin="Hello!\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello to you!\n", "")
    gone = attune("chat", stdin="Hello!\n", ATTUNE_BASE_URL="http://127.0.0.1:9")
    assert (gone.returncode, gone.stdout, gone.stderr.count("\n")) == (1, "", 1)


def test_a_reader_that_has_enough_is_no_error(fake: FakeService) -> None:
    fake.events += [(number, "feedback", {"n": "x" * 500}) for number in range(4, 400)]
    line = f"{sys.executable} -m attune events --after 0 | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split()[:2] == ["1", "feedback"]
    assert done.stderr == ""


def test_help_is_there_in_half_a_second() -> None:
    spent = []
    for _ in range(3):
        began = time.process_time(), os.times().children_user + os.times().children_system
        assert attune("--help").returncode == 0
        spent.append(os.times().children_user + os.times().children_system - began[1])
    assert min(spent) < 0.5  # seconds of processor time, so that a busy machine does not count


def test_help_brings_nothing_heavy() -> None:
    look = (
        "import sys; from attune.cli.app import run; run(['--help']);"
        "print('BROUGHT', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    brought = set(done.stdout.rpartition("BROUGHT")[2].split())
    assert not brought & {"torch", "transformers", "numpy", "matplotlib", "fastapi", "openvino", "sqlite_utils"}


def test_the_version_is_shown_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(["--version"]) == 0
    assert capsys.readouterr() == (f"{__version__}\n", "")


def test_without_the_extra_one_sentence_names_what_to_install(tmp_path: Path) -> None:
    block = "import sys; sys.modules['typer'] = None; sys.modules['rich'] = None\nfrom attune.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == "attune: the command needs two more packages; install them with: pip install 'attune-client[cli]'\n"
    )


def test_each_shell_gets_completions() -> None:
    for shell, sign in (
        ("bash", "complete -o default -F"),
        ("zsh", "#compdef attune"),
        ("fish", "complete --command attune"),
    ):
        done = attune("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
        assert (done.returncode, done.stderr) == (0, "")
        assert sign in done.stdout
    done = attune(_ATTUNE_COMPLETE="complete_bash", COMP_WORDS="attune prom", COMP_CWORD="1")
    assert done.stdout.split() == ["promote"]


class Fakes:
    """The modules of installed packages."""

    @staticmethod
    def good(app: typer.Typer) -> None:
        @app.command()
        def wave(name: str) -> None:
            """Wave."""
            print(f"wave {name}")

        @app.command()
        def chat() -> None:
            """Not this one."""
            print("not this one")

    @staticmethod
    def broken(app: typer.Typer) -> None:
        app.command()(lambda: None)
        raise RuntimeError("two\nlines")

    @staticmethod
    def buggy(app: typer.Typer) -> None:
        @app.command()
        def crash() -> None:
            """Crash."""
            raise KeyError("oops")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint(name, f"tests.cli.test_command:Fakes.{name}", command.GROUP) for name in ("broken", "buggy", "good")
    ]
    points.append(EntryPoint("gone", "no_such_module_at_all:register", command.GROUP))
    monkeypatch.setattr(command, "entry_points", lambda group: points)


@pytest.mark.usefixtures("installed")
def test_installed_commands_are_added_and_broken_ones_are_reported_where_it_matters(
    capsys: pytest.CaptureFixture[str], fake: FakeService
) -> None:
    assert command.run(["wave", "hand"]) == 0
    assert capsys.readouterr() == ("wave hand\n", "")
    assert command.run(["chat", "Hello!"]) == 0
    assert capsys.readouterr() == ("Hello to you!\n", "")
    assert command.run(["--help"]) == 0
    out, err = capsys.readouterr()
    assert "wave" in out
    missing = "ModuleNotFoundError: No module named 'no_such_module_at_all'"
    assert err.splitlines() == [
        "attune: the commands of tests.cli.test_command:Fakes.broken are left out: RuntimeError: two lines",
        f"attune: the commands of no_such_module_at_all:register are left out: {missing}",
    ]
    assert command.run(["gone"]) == 1
    assert "left out" in capsys.readouterr().err


@pytest.mark.usefixtures("installed")
def test_a_bug_of_ours_is_one_line_unless_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command.run(["crash"]) == 1
    assert capsys.readouterr().err == "attune: this is a bug in attune, KeyError: 'oops' (ATTUNE_DEBUG=1 shows where)\n"
    monkeypatch.setenv("ATTUNE_DEBUG", "1")
    assert command.run(["crash"]) == 1
    assert "Traceback" in capsys.readouterr().err
