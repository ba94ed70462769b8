"""What is wrong with this installation: one check for each thing that a service needs."""

import contextlib
import importlib.metadata
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from policy.errors import PolicyError
from policy.free_memory import available_memory
from policy.hub import pinned_by
from policy.model import model_digest, resolve_model
from policy.versions import read_version
from service.errors import CannotStart
from service.folders import hint_of_another_folder, is_data_folder
from service.learner_child import check_learner, learner_command
from service.runner_choice import chosen_runner
from service.serving import listen
from service.settings import ServeSettings, load_settings
from store.database import check_folder, open_to_read
from store.errors import StoreError
from store.folder_lock import ROLES, process_at_work
from store.migrations import migrations
from store.permissions import open_mode
from store.versions import Version, versions

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "peft",
    "fastapi",
    "uvicorn",
    "sqlite-utils",
    "openvino-genai",
    "xllamacpp",
    "gguf",
)
ENOUGH_GIB = 1.0
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """The result of one check, with a detail for people."""

    check: str
    ok: bool
    detail: str


def examine(flags: dict[str, Any], config: Path | None) -> list[Finding]:
    """Run every check; one that fails does not hide the others. Raises CannotStart where settings cannot be read."""
    settings = load_settings(flags, config)
    checks: tuple[tuple[str, Callable[[ServeSettings], str]], ...] = (
        ("python", _python),
        ("packages", _packages),
        ("model", _model),
        ("runner", _runner),
        ("data folder", _data),
        ("database", _database),
        ("versions", _versions),
        ("disk", _disk),
        ("memory", _memory),
        ("port", _port),
        ("keys", _keys),
        ("learner", _learner),
    )
    return [_run_check(name, check, settings) for name, check in checks]


def _run_check(name: str, check: Callable[[ServeSettings], str], settings: ServeSettings) -> Finding:
    try:
        return Finding(name, True, check(settings))
    except (CannotStart, PolicyError, StoreError, OSError) as error:
        return Finding(name, False, str(error))
    except sqlite3.Error as error:
        return Finding(name, False, f"the database is damaged: {error}; restore a copy of {settings.data}")
    except Exception as error:  # what is wrong with an installation may break any check
        return Finding(name, False, f"the check failed ({type(error).__name__}: {error})")


def _python(_: ServeSettings) -> str:
    return f"{sys.version.split()[0]}, {os.cpu_count()} CPU cores"


def _packages(_: ServeSettings) -> str:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        raise CannotStart(f"missing: {', '.join(missing)}; install them with pip")
    return ", ".join(found)


def _model(settings: ServeSettings) -> str:
    name = pinned_by(settings.data, settings.model)
    return f"{name} in {resolve_model(name)}, digest {model_digest(name)[:12]}"


def _runner(settings: ServeSettings) -> str:
    named = settings.model_copy(update={"model": pinned_by(settings.data, settings.model)})
    return chosen_runner(named)[1].line


def _data(settings: ServeSettings) -> str:
    check_folder(settings.data)
    if not is_data_folder(settings.data):
        return f"{settings.data} is new: the first start fills it{hint_of_another_folder(settings.data)}"
    mode = open_mode(settings.data)
    open_to = f"; others may use it too (mode {mode:o}), which the next start ends" if mode else ""
    at_work = [f"; {role}: {process}" for role in ROLES if (process := process_at_work(settings.data, role))]
    return f"{settings.data} can be written{open_to}{''.join(at_work)}"


def _unread(settings: ServeSettings) -> str:
    """Return why there is no database to look into, "" where there is one."""
    if not is_data_folder(settings.data):
        return "none yet"
    with contextlib.closing(open_to_read(settings.data)) as db:
        return "of an older Attune: the next start brings it up to date" if migrations.pending(db) else ""


def _database(settings: ServeSettings) -> str:
    if why := _unread(settings):
        return why
    with contextlib.closing(open_to_read(settings.data)) as db:
        result = str(db.execute("PRAGMA quick_check").fetchone()[0])
        if result != "ok":
            raise CannotStart(f"the database is damaged: {' '.join(result.split())}; restore a copy of {settings.data}")
        return f"sound; {db.table('feedback').count} feedback on {db.table('completions').count} answers"


def _versions(settings: ServeSettings) -> str:
    if is_data_folder(settings.data) and (why := _unread(settings)):
        return why
    found = list(_known_versions(settings))
    if not found:
        return "none yet: the first start adds version 0"
    for version in found:
        if version.folder and version.state in ("live", "canary", "retired", "candidate"):
            read_version(settings.data / version.folder)
    if found[0].digest != model_digest(pinned_by(settings.data, settings.model)):
        message = f"{settings.data} learned on another base model than {settings.model!r}"
        raise CannotStart(f"{message}; name that one with --model")
    live = next((version for version in found if version.state == "live"), None)
    if live is None:
        raise CannotStart(f"no version is live in {settings.data}; restore a copy of it")
    return f"{len(found)}, all files as they were trained; version {live.number} is live"


def _known_versions(settings: ServeSettings) -> Iterator[Version]:
    if _unread(settings):
        return
    with contextlib.closing(open_to_read(settings.data)) as db:
        yield from versions(db)


def _disk(settings: ServeSettings) -> str:
    there = next(folder for folder in (settings.data, *settings.data.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free / GIB
    if free < ENOUGH_GIB:
        raise CannotStart(f"only {free:.1f} GiB are free under {settings.data}")
    return f"{free:.0f} GiB free"


def _memory(_: ServeSettings) -> str:
    there = available_memory()
    if there is None:
        return "this system does not say how much is free"
    free = there / GIB
    if free < ENOUGH_GIB / 2:
        raise CannotStart(f"only {free:.1f} GiB of memory are free")
    return f"{free:.1f} GiB free"


def _port(settings: ServeSettings) -> str:
    try:
        listen(settings.host, settings.port).close()
    except CannotStart as error:
        try:
            state = httpx.get(f"http://127.0.0.1:{settings.port}/readyz", timeout=2).json()
        except (httpx.HTTPError, ValueError):
            raise error from None
        if "model" not in state:
            raise error from None
        return f"an Attune answers on port {settings.port}: {state['status']}, version {state.get('version')}"
    return f"{settings.host}:{settings.port} is free"


def _keys(settings: ServeSettings) -> str:
    made = in_use = 0
    if is_data_folder(settings.data):
        if why := _unread(settings):
            return why
        with contextlib.closing(open_to_read(settings.data)) as db:
            made, in_use = db.table("api_keys").count, db.table("api_keys").count_where("revoked_at IS NULL")
    if not settings.is_loopback and not in_use:
        lead = f"{settings.host} can be reached from other machines, but no key is in use"
        raise CannotStart(f"{lead}; make one: attune keys create NAME")
    return f"{in_use} of {made} in use" if made else "none: the service answers this machine only"


def _learner(settings: ServeSettings) -> str:
    if settings.no_learner:
        return "off"
    check_learner(learner_command(settings))
    return "its settings are right"
