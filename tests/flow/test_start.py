"""When `attune serve` cannot start: one line on stderr that names the cause and what to do, and status 1."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from policy.catalog import bundled_models
from service.errors import CannotStart
from service.serving import run
from store.database import open_store, open_to_read
from store.folder_lock import lock_folder
from store.permissions import share_versions
from store.versions import ensure_base_version
from tests.served import ROOT, free_port

MODEL = "pocket-nano"


def attune(arguments: Sequence[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the server's commands, as `attune` would."""
    known = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", **(environment or {})}
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env=known,
        check=False,
    )


def refused(data: Path, *flags: str, environment: dict[str, str] | None = None) -> str:
    """Return the one line with which `serve` refused to start."""
    done = attune(["serve", "--data", str(data), "--no-learner", *flags], environment)
    assert done.returncode == 1, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert done.stdout == ""
    return lines[0]


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        message = refused(tmp_path / "data", "--model", MODEL, "--port", str(taken.getsockname()[1]))
    assert "in use" in message
    assert "--port" in message


def test_a_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    message = refused(tmp_path / "file" / "data", "--model", MODEL)
    assert str(tmp_path / "file" / "data") in message
    assert "--data" in message


def test_a_database_of_a_newer_attune(tmp_path: Path) -> None:
    db = open_store(tmp_path)
    db.table("_sqlite_migrations").insert(
        {"migration_set": "attune", "name": "m999_from_the_future", "applied_at": "2099-01-01"}
    )
    db.close()
    before = (tmp_path / "attune.db").read_bytes()
    message = refused(tmp_path, "--model", MODEL)
    assert "m999_from_the_future" in message
    assert "newer" in message
    assert (tmp_path / "attune.db").read_bytes() == before


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "attune.db").write_bytes(b"something else entirely, and long enough to be read as a header" * 50)
    assert "not a usable database" in refused(tmp_path, "--model", MODEL)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pockett", "no model 'pockett'"),
        ("/nowhere/model", "no model '/nowhere/model'"),
        ("someone/never-made", "someone/never-made"),
    ],
)
def test_an_unknown_model(tmp_path: Path, name: str, expected: str) -> None:
    assert expected in refused(tmp_path / "data", "--model", name)


def take_template_out(folder: Path) -> None:
    """Make a base model of a chat model: it has no chat template."""
    (folder / "chat_template.jinja").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(
                (folder / "model.safetensors").read_bytes()[:5000]
            ),
            "model.safetensors",
        ),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer"),
        (lambda folder: (folder / "generation_config.json").write_text("{"), "generation_config.json cannot be read"),
        (take_template_out, "--chat-template FILE, chatml or plain"),
    ],
)
def test_a_damaged_model_folder(tmp_path: Path, damage: object, expected: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bundled_models()[MODEL], folder)
    damage(folder)  # type: ignore[operator]
    message = refused(tmp_path / "data", "--model", str(folder), "--port", "0")
    assert expected in message
    assert str(folder) in message


def test_a_model_that_is_not_fetched_yet_and_a_torn_file(tmp_path: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    message = refused(tmp_path / "data", "--model", "smollm2", environment=cache)
    assert "fetch it with `attune models get smollm2`" in message
    (tmp_path / "torn.gguf").write_bytes(b"GGUF\x03\0\0\0")
    message = refused(tmp_path / "data", "--model", str(tmp_path / "torn.gguf"), environment=cache)
    assert "torn.gguf is torn" in message
    assert not (tmp_path / "cache").exists()


def test_a_data_folder_that_was_begun_with_another_model(tmp_path: Path) -> None:
    db = open_store(tmp_path)
    with db.conn:
        ensure_base_version(db, "another")
    db.close()
    assert "--model" in refused(tmp_path, "--model", MODEL, "--port", "0")


@pytest.mark.parametrize(
    ("flags", "environment", "toml", "expected"),
    [
        (["--port", "99999"], {}, "", "--port cannot be 99999"),
        ([], {"ATTUNE_LIMITS__MAX_ACTIVE": "zero"}, "", "ATTUNE_LIMITS__MAX_ACTIVE cannot be 'zero'"),
        ([], {}, "[engine]\nmax_slots = 1", "engine.max_slots in"),
        ([], {}, "max_slotz = 4", "'max_slotz'"),
        ([], {}, "max_slots = ", "not TOML"),
        (["--config", "/nowhere/attune.toml"], {}, "", "/nowhere/attune.toml cannot be read"),
        (["--chat-template", "none.jinja"], {}, "", "--chat-template cannot be 'none.jinja'"),
        (["--chat-template", "chatml", "--port", "0"], {}, "", "has no tokens <|im_start|> and <|im_end|>"),
        (["--learner.chat-template", "x"], {}, "", "give it to attune serve itself"),
        (["--device", "tpu"], {}, "", "--device cannot be 'tpu'"),
        (["--learner.steps", "none"], {}, "", "--learner.steps is for the learner, and --no-learner serves without it"),
        (["--learner.once"], {}, "", "--learner.once is no setting of the learner's own; attune learn takes it"),
    ],
)
def test_a_setting_that_cannot_be(
    tmp_path: Path, flags: list[str], environment: dict[str, str], toml: str, expected: str
) -> None:
    if toml:
        (tmp_path / "attune.toml").write_text(toml)
        flags = [*flags, "--config", str(tmp_path / "attune.toml")]
    assert expected in refused(tmp_path / "data", "--model", MODEL, *flags, environment=environment)


def test_a_host_that_others_can_reach_needs_a_key_first(tmp_path: Path) -> None:
    message = refused(tmp_path, "--model", MODEL, "--host", "0.0.0.0", "--port", str(free_port()))
    assert "attune keys create" in message
    assert "0.0.0.0" in message


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    data = ["--data", str(tmp_path)]
    made = attune(["keys", "create", "web", "--scope", "chat", "--scope", "act-as", *data])
    assert made.returncode == 0
    assert made.stdout.startswith("at-")
    listed = attune(["keys", "list", *data]).stdout
    assert "chat act-as" in listed
    assert made.stdout.strip() not in listed
    key_id = listed.split()[0]
    assert attune(["keys", "revoke", key_id, *data]).returncode == 0
    assert "revoked" in attune(["keys", "list", *data]).stdout
    again = attune(["keys", "revoke", key_id, *data])
    assert (again.returncode, len(again.stderr.strip().splitlines())) == (1, 1)
    wrong = attune(["keys", "create", "web", "--scope", "root", *data])
    assert (wrong.returncode, "unknown scope 'root'" in wrong.stderr) == (1, True)


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "fastapi", "numpy")
    register = "import sys, typer, service.commands as c; c.register(typer.Typer())"
    code = f"{register}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_a_second_service_on_one_data_folder(tmp_path: Path) -> None:
    with lock_folder(tmp_path, "service"):
        message = refused(tmp_path, "--model", MODEL, "--port", "0")
    assert f"another service works on the data folder {tmp_path}: process {os.getpid()} (" in message
    assert "--data" in message


def test_a_second_service_leaves_the_first_ones_folder_as_it_is(tmp_path: Path) -> None:
    """Another release would change its database, and other flags would close its versions to the group."""
    with contextlib.closing(open_store(tmp_path)) as db, db.conn:
        db.execute("DELETE FROM _sqlite_migrations WHERE name = 'm003_readiness'")
        db.execute("DROP TABLE readiness")
    share_versions(tmp_path, True)
    with lock_folder(tmp_path, "service"), pytest.raises(CannotStart, match="another service works"):
        run({"data": tmp_path, "model": MODEL, "no_learner": True}, None)
    assert tmp_path.stat().st_mode & 0o777 == 0o710
    with contextlib.closing(open_to_read(tmp_path)) as db:
        assert "readiness" not in db.table_names()


def test_a_lock_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "service.lock").mkdir()
    with pytest.raises(CannotStart, match=r"service\.lock cannot be written .*the user who owns it"):
        run({"data": tmp_path, "model": MODEL, "no_learner": True}, None)


def test_a_service_with_a_learner_where_one_works_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.serving.LEARNER_ENDING_S", 0.1)
    with lock_folder(tmp_path, "learner"):
        with pytest.raises(CannotStart, match=rf"a learner works on .*: process {os.getpid()} .*--no-learner"):
            run({"data": tmp_path, "model": MODEL, "port": 0}, None)
    lock_folder(tmp_path, "service", wait_s=0).release()


def test_a_second_learner_on_one_data_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "learner", "--data", str(tmp_path), "--model", MODEL]
    with lock_folder(tmp_path, "service"), lock_folder(tmp_path, "learner"):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
        checked = subprocess.run([*command, "--check"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"another learner works on the data folder {tmp_path}: process {os.getpid()} (")
    assert (checked.returncode, checked.stderr) == (0, "")  # as the doctor asks beside a learner at work


def test_a_wrong_setting_of_the_learner(tmp_path: Path) -> None:
    (tmp_path / "attune.toml").write_text("[learner]\nlearning_speed = 5\n")
    config = ["--config", str(tmp_path / "attune.toml")]
    done = attune(["serve", "--data", str(tmp_path / "data"), "--model", MODEL, "--port", "0", *config])
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "the learner cannot start" in done.stderr
    assert "learning_speed" in done.stderr
