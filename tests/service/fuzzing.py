"""schemathesis against a real service: requests made from the description, and every answer checked against it."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from unittest.mock import patch

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.app import create_app
from store.api_keys import SCOPES, make_key
from tests.service import running

ROOT = Path(__file__).parents[2]


class _Cut(Exception):
    """The first events are out, which is enough of a stream that never ends."""


class CutEvents:
    """ASGI middleware that ends `/v1/events` after its first part, so that a client can read all of it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_first(message: Message) -> None:
            if message["type"] == "http.response.body" and message.get("more_body"):
                await send({**message, "more_body": False})
                raise _Cut
            await send(message)

        is_events = scope["type"] == "http" and scope["path"] == "/v1/events"
        with contextlib.suppress(_Cut):
            await self.app(scope, receive, send_first if is_events else send)


def _app_with_short_events(*arguments: object, **options: object) -> FastAPI:
    app = create_app(*arguments, **options)  # type: ignore[arg-type]
    app.add_middleware(CutEvents)
    return app


@contextlib.contextmanager
def served_for_fuzzing(folder: Path) -> Generator[tuple[str, str], None, None]:
    """A service with API keys; gives its URL, and a key that may do everything."""
    with patch.object(running, "create_app", _app_with_short_events), running.running(folder / "data") as served:
        served.chat()
        with served.db() as db:
            secret = make_key(db, "fuzz", SCOPES)[1]
        yield served.url, secret


def findings(folder: Path, *options: str, timeout_s: float) -> tuple[int, str]:
    """Run schemathesis with all checks; return how many cases it made and what it printed, "" if it found nothing.

    What it finds and tests/service/known_findings.py names is left out.
    """
    with served_for_fuzzing(folder) as (url, secret):
        command = [
            *(str(Path(sys.executable).parent / "schemathesis"), "run", f"{url}/openapi.json", "--checks", "all"),
            *("--header", f"Authorization: Bearer {secret}", "--no-color", "--workers", "1", *options),
            *("--generation-allow-x00", "false"),  # tests/service/test_bad_values.py sends NUL everywhere
        ]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.service.known_findings", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, cwd=folder, env=environment, check=False
        )
    found = re.search(r"(\d+) generated", done.stdout)
    return int(found[1]) if found else 0, "" if done.returncode == 0 else done.stdout + done.stderr
