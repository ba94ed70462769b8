"""The options of every command that talks to a service, and the client that they make."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import attune

Url = Annotated[
    str | None,
    typer.Option(
        "--url", envvar="ATTUNE_BASE_URL", help="Address of the service.", show_default="http://127.0.0.1:8000"
    ),
]
Key = Annotated[
    str | None, typer.Option("--key", envvar="ATTUNE_API_KEY", help="API key (at-...).", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
RETRY = attune.Retry(times=1, first_s=0.3)  # a person waits


def connect(url: str | None, key: str | None, **more: Any) -> attune.Client:
    """Return a client for one command."""
    return attune.Client(url, key, retry=RETRY, **more)
