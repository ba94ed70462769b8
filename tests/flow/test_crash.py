"""kill -9 of the service: what was acknowledged is there, once, and the same version answers."""

import contextlib
import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Generator
from pathlib import Path

import httpx

from store.database import connect
from store.ids import now
from store.versions import Version, add_version, set_live
from tests.served import ROOT, free_port

KILLS = 20


@contextlib.contextmanager
def parrot_server(data: Path, port: int) -> Generator[subprocess.Popen[bytes], None, None]:
    """A server process of its own that answers."""
    command = [sys.executable, "-m", "tests.service.parrot_server", "--data", str(data), "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        deadline = time.monotonic() + 30
        while True:
            assert process.poll() is None, "the server ended by itself"
            assert time.monotonic() < deadline, "the server was not ready in time"
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                    break
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


def test_acknowledged_feedback_survives_twenty_kills_and_none_is_there_twice(tmp_path: Path) -> None:
    data, port, rng = tmp_path / "data", free_port(), random.Random(0)
    acknowledged: dict[str, str] = {}  # idempotency key -> feedback id
    open_key: tuple[str, dict[str, str]] | None = None  # sent, and perhaps stored, before the kill
    for _ in range(KILLS):
        with (
            parrot_server(data, port) as process,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as http,
        ):
            if open_key is not None:  # a client that got no answer tries again with the same key
                key, body = open_key
                again = http.post("/v1/feedback", json=body, headers={"Idempotency-Key": key})
                assert again.status_code in (200, 201)
                acknowledged[key] = again.json()["id"]
            for _ in range(rng.randint(1, 6)):
                answer = http.post(
                    "/v1/chat/completions",
                    json={"model": "attune", "messages": [{"role": "user", "content": "Hello!"}]},
                ).json()
                key, body = str(uuid.uuid4()), {"completion_id": answer["id"], "thumb": "up"}
                response = http.post("/v1/feedback", json=body, headers={"Idempotency-Key": key})
                assert response.status_code == 201
                acknowledged[key] = response.json()["id"]
            process.kill()  # between the 201 and the next request
            open_key = (str(uuid.uuid4()), {"completion_id": answer["id"], "thumb": "down"})
            with contextlib.suppress(httpx.HTTPError):
                http.post("/v1/feedback", json=open_key[1], headers={"Idempotency-Key": open_key[0]})
    db = connect(data)
    rows = [(row["idempotency_key"], row["id"]) for row in db.query("SELECT idempotency_key, id FROM feedback")]
    db.close()
    assert len(rows) == len({key for key, _ in rows})
    assert dict(rows).items() >= acknowledged.items()
    assert len(rows) - len(acknowledged) in (0, 1)  # the very last one had no answer


def test_after_a_kill_the_live_version_still_answers(tmp_path: Path) -> None:
    data, port = tmp_path / "data", free_port()
    with parrot_server(data, port) as process:
        process.kill()
    db = connect(data)
    with db.conn:
        add_version(db, Version(1, 0, "candidate", "one", "", 0, "mixed", now(), passed=True), ())
        set_live(db, 1, "passed the gate")
    db.close()
    for _ in range(2):
        with parrot_server(data, port) as process:
            answer = httpx.post(
                f"http://127.0.0.1:{port}/v1/chat/completions",
                json={"model": "attune", "messages": [{"role": "user", "content": "Hi"}]},
            )
            assert answer.json()["model"] == "attune@1"
            process.kill()
