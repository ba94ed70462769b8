"""`attune serve`: check everything that can be checked at once, take the port, run until a signal."""

import contextlib
import gc
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI

from policy.errors import PolicyError
from policy.hub import record_pin
from policy.model import resolved_name
from service.addresses import is_loopback
from service.app import create_app
from service.connections import bounded_by, bounds_of, raise_file_limit
from service.errors import CannotStart
from service.learner_child import LearnerChild, learner_command
from service.lifecycle import MakeModel, Service
from service.settings import ServeSettings, load_settings
from store.database import damage_named, make_folder, open_store
from store.errors import StoreError
from store.folder_lock import FolderLock, lock_folder, process_at_work
from store.permissions import share_versions

LEARNER_ENDING_S = 10.0  # that the learner of a killed service may take to give its memory back
SHUTDOWN_GRACE_S = 3.0  # for the last bytes of answers that were cut


class Server(uvicorn.Server):
    """uvicorn that stops the service before it waits for open connections, since streams end only with the service."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app = self.config.app
        assert isinstance(app, FastAPI)
        app.state.service.begin_stop()
        await super().shutdown(sockets)


def run(
    flags: dict[str, Any],
    config: Path | None,
    make_model: MakeModel | None = None,
    *,
    learner_flags: Sequence[str] = (),
) -> None:
    """Serve until SIGINT or SIGTERM. Raises CannotStart with one line. `learner_flags` go to the learner's process."""
    settings = load_settings(flags, config)
    if settings.no_learner and learner_flags:
        given = learner_flags[0].removeprefix("--").partition("=")[0]
        raise CannotStart(f"--learner.{given} is for the learner, and --no-learner serves without it; leave one out")
    _set_up_logging()
    _check_backends(settings)
    with _lock(settings):  # first: whoever is refused leaves the other one's database and permissions as they are
        num_keys = _check_data(settings)
        if not settings.is_loopback and num_keys == 0:
            lead = f"--host {settings.host} can be reached from other machines and there is no API key"
            raise CannotStart(f"{lead}; make one: attune keys create NAME")
        _serve(settings, flags, make_model, learner_flags, num_keys)


def _serve(
    settings: ServeSettings,
    flags: dict[str, Any],
    make_model: MakeModel | None,
    learner_flags: Sequence[str],
    num_keys: int,
) -> None:
    """Run the server until a signal. Raises CannotStart."""
    listening = listen(settings.host, settings.port, settings.limits.unread_s)
    if make_model is None:
        settings = settings.model_copy(update={"model": model_name(settings)})
        make_model = _local_model()
    learner = None
    if not settings.no_learner:
        # Of the shared settings the learner finds the device itself, unless a flag of the service names it.
        shared = ["--device", str(flags["device"])] if flags.get("device") is not None else []
        command = learner_command(settings, [*shared, *learner_flags])
        learner = LearnerChild(command, settings.data / "logs" / "learner.log", settings.limits.learner_hang_s)
    failures: list[str] = []

    def failed(message: str) -> None:
        failures.append(message)
        server.should_exit = True

    def began(service: Service) -> None:
        gc.collect()
        gc.freeze()  # a full collection beside a large request would stop everybody for a tenth of a second
        record_pin(settings.data, settings.model)
        print(greeting(service, listening.getsockname()[1], num_keys), flush=True)

    app = create_app(settings, make_model, learner=learner, began=began, failed=failed)
    raise_file_limit()
    server = Server(server_config(app, settings))
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn raises the signal again once it has shut down in order
        pass
    finally:
        listening.close()
    if failures:
        raise CannotStart(failures[0])


def server_config(app: FastAPI, settings: ServeSettings) -> uvicorn.Config:
    """Return how uvicorn serves the application: bounded connections, and nothing believed about proxies in front."""
    return uvicorn.Config(
        app,
        http=bounded_by(bounds_of(settings.limits)),
        ws="none",
        proxy_headers=False,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_keep_alive=75,
        server_header=False,
        timeout_graceful_shutdown=int(settings.limits.shutdown_s + SHUTDOWN_GRACE_S) + 1,
    )


def listen(host: str, port: int, unread_s: float = 60.0) -> socket.socket:
    """Return a socket that listens there. Raises CannotStart when the port is taken or the address is not ours.

    A client that does not confirm what it is sent for `unread_s` seconds is gone (on Linux).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # the connections that it accepts inherit this
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(unread_s * 1000))
    try:
        listening.bind((host.strip("[]"), port))
        listening.listen(2048)
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or error
        raise CannotStart(f"cannot listen on {host}:{port} ({reason}); choose another with --port or --host") from error
    listening.setblocking(False)
    return listening


def greeting(service: Service, port: int, num_keys: int) -> str:
    """Return the line that is printed once the service answers."""
    settings, router = service.settings, service.engine.router
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    learner = "learner off" if service.learner is None else "learner on"
    keys = f"{num_keys} API key{'s' if num_keys != 1 else ''}" if num_keys else "no API keys: this machine only"
    return f"Attune is ready at {url}  ({settings.model}, version {router.live if router else '?'}; {learner}; {keys})"


def _check_data(settings: ServeSettings) -> int:
    """Return how many keys were ever made. Raises CannotStart for a data folder that cannot be used."""
    try:
        with contextlib.closing(open_store(settings.data)) as db, damage_named(settings.data):
            share_versions(settings.data, settings.share_versions)
            if settings.share_versions:
                os.umask(
                    0o077
                )  # what this process and its children make under a folder that the group may pass through
            return db.table("api_keys").count
    except StoreError as error:
        raise CannotStart(str(error)) from error


def _check_backends(settings: ServeSettings) -> None:
    """Raise CannotStart for a backend that is this service itself, which would ask itself without end."""
    urls = {**settings.backends, **({"vllm": settings.vllm} if settings.vllm else {})}
    for name, url in urls.items():
        split = urlsplit(url)
        host, port = split.hostname or "", split.port or (443 if split.scheme == "https" else 80)
        if port == settings.port and (is_loopback(host) or host == settings.host):
            raise CannotStart(f"{name}={url} is this service itself; name another server, or listen on another --port")


def model_name(settings: ServeSettings) -> str:
    """Return the base model's name with its commit, after checks that take milliseconds. Raises CannotStart."""
    try:
        return resolved_name(settings.model, settings.data)
    except PolicyError as error:
        raise CannotStart(str(error)) from error


def _local_model() -> MakeModel:
    """Return what makes the model. The tokenizer's library takes its time, so it is imported after the checks."""
    from service.model import LocalModel

    return LocalModel


def _set_up_logging() -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=os.environ.get("ATTUNE_LOG_LEVEL", "WARNING").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


def _lock(settings: ServeSettings) -> FolderLock:
    """Return the lock of the data folder's only service. Raises CannotStart, which names the process that is there."""
    try:
        make_folder(settings.data)
        lock = lock_folder(settings.data, "service")
    except StoreError as error:
        raise CannotStart(str(error)) from error
    learner = "" if settings.no_learner else process_at_work(settings.data, "learner", LEARNER_ENDING_S)
    if learner:
        lock.release()
        lead = f"a learner works on the data folder {settings.data}: {learner}"
        raise CannotStart(f"{lead}; end it, or serve beside it: --no-learner")
    return lock
