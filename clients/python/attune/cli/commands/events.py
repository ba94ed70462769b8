"""`attune events`."""

from __future__ import annotations

from typing import Annotated

import typer

from attune.cli.options import Json, Key, Url, connect
from attune.cli.printing import print_json, shortened


def events(
    after: Annotated[
        int | None, typer.Option(min=0, help="Start after this event; 0 is the first.", show_default="new ones only")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many.", show_default="never")] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Follow the service's events until Ctrl-C."""
    with connect(url, key) as client, client.events(after) as stream:
        for seen, event in enumerate(stream, 1):
            if as_json:
                print_json(event)
            else:
                details = " ".join(f"{name}={shortened(value)}" for name, value in event.data.items())
                print(f"{event.seq:>6}  {event.kind:20}  {details}".rstrip(), flush=True)
            if seen == count:
                break
