"""The service on a free port in a thread of its own, with a parrot for a model: what most tests use."""

import contextlib
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
from openai import OpenAI
from sqlite_utils import Database

from config.fields import nested
from service.app import create_app
from service.connections import Bounds, Connection
from service.lifecycle import MakeModel, Service
from service.serving import Server, listen, server_config
from service.settings import ServeSettings
from store.database import connect, transaction
from store.ids import now
from store.versions import Version, add_version, next_version_number, set_verdict
from tests.service.parrot import ParrotModel


class Running:
    """One running service and what tests do with it."""

    def __init__(self, url: str, data: Path, model: ParrotModel, service: Service, bounds: Bounds) -> None:
        self.url, self.data, self.model, self.service = url, data, model, service
        self.bounds = bounds
        self.http = httpx.Client(base_url=url, timeout=30)

    def openai(self, key: str = "none", **options: Any) -> OpenAI:
        """The openai SDK as a client, without retries that would hide failures."""
        return OpenAI(base_url=self.url + "/v1", api_key=key, max_retries=0, **options)

    def chat(self, text: str = "Hello!", **more: Any) -> dict[str, Any]:
        """Ask one question, and return the body of the answer."""
        response = self.http.post(
            "/v1/chat/completions", json={"model": "attune", "messages": [{"role": "user", "content": text}], **more}
        )
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    @contextlib.contextmanager
    def db(self) -> Generator[Database, None, None]:
        """The store, as the learner would open it; what is written is committed at the end."""
        db = connect(self.data)
        try:
            with transaction(db):
                yield db
        finally:
            db.close()

    def add_candidate(self, *, passed: bool = True, parent: int | None = None, folder: str = "") -> int:
        """Add a version with its gate's verdict, as the learner does after an update."""
        with self.db() as db:
            number = next_version_number(db)
            live = next(iter(db.query("SELECT number FROM versions WHERE state = 'live'")))["number"]
            version = Version(
                number, live if parent is None else parent, "candidate", f"digest-{number}", folder, 0, "mixed", now()
            )
            add_version(db, version, ())
            set_verdict(db, number, passed, {"passed": passed, "checks": [], "reasons": [] if passed else ["worse"]})
        return number

    def versions(self) -> dict[int, dict[str, Any]]:
        """Return the rows of GET /v1/versions by number."""
        return {row["version"]: row for row in self.http.get("/v1/versions").json()["data"]}

    def wait_for_state(self, number: int, state: str, wait_s: float = 10.0) -> None:
        """Wait until a version is in a state."""
        wait_until(lambda: self.versions()[number]["state"] == state, wait_s, f"version {number} is {state}")


def wait_until(holds: Any, wait_s: float = 10.0, what: str = "it holds") -> None:
    """Wait until `holds()` is true; fail when it is not in time."""
    deadline = time.monotonic() + wait_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {wait_s} s: {what}"
        time.sleep(0.01)


def serve_settings(**settings: Any) -> ServeSettings:
    """Return settings by path, `__` for the dot: `engine__max_slots=2` sets `engine.max_slots`."""
    return ServeSettings(**nested({name.replace("__", "."): value for name, value in settings.items()}))


@contextlib.contextmanager
def running(
    data: Path, parrot: ParrotModel | None = None, make_model: MakeModel | None = None, **settings: Any
) -> Generator[Running, None, None]:
    """A service that answers, until the end of the with-block."""
    parrot = parrot or ParrotModel()
    usual = {"data": data, "port": 0, "model": "parrot", "no_learner": True, "engine__poll_s": 0.05}
    known = serve_settings(**(usual | settings))
    listening = listen(known.host, 0)
    failures: list[str] = []
    app = create_app(known, make_model or (lambda _: parrot), failed=failures.append)
    config = server_config(app, known)
    server = Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        wait_until(
            lambda: failures or (server.started and httpx.get(url + "/readyz", timeout=60).status_code == 200),
            300,
            "the service is ready",
        )
        assert not failures, failures
        assert issubclass(config.http_protocol_class, Connection)
        live = Running(url, data, parrot, app.state.service, config.http_protocol_class.bounds)
        yield live
        live.http.close()
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the service did not stop"
