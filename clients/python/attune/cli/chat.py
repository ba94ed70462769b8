"""`attune chat`: one question and its answer, or a conversation in the terminal."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

import attune
from attune.cli import last
from attune.cli.options import Json, Key, Url, connect, print_json
from attune.cli.rendering import speech


def chat(
    prompt: Annotated[
        list[str] | None,
        typer.Argument(help="What to ask. Without it: what is piped in, or a conversation.", show_default=False),
    ] = None,
    model: Annotated[str, typer.Option(help='"attune" is whatever is live, "attune@3" that version.')] = "attune",
    system: Annotated[str | None, typer.Option(help="A system message.", show_default=False)] = None,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, max=2, help="0 always takes the likeliest word.", show_default="the service's"),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, in tokens.", show_default="the service's")
    ] = None,
    rater: Annotated[
        str | None, typer.Option(help="Whom you speak for; needs a key that may act for others.", show_default=False)
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="No markdown.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Chat in the terminal. /help there tells what you can say about the answers."""
    sampling: attune.Sampling = {}
    if temperature is not None:
        sampling["temperature"] = temperature
    if max_tokens is not None:
        sampling["max_tokens"] = max_tokens
    begin: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    with connect(url, key, rater=rater) as client:
        if not prompt and sys.stdin.isatty() and not as_json:
            from attune.cli.conversation import Conversation

            Conversation(client, model, sampling, begin, is_plain=plain).run()
            return
        text = " ".join(prompt) if prompt else sys.stdin.read().strip()
        if not text:
            raise typer.BadParameter("there is nothing to ask: name a prompt, or pipe one in")
        question = [*begin, {"role": "user", "content": text}]
        if as_json:
            reply = client.chat(question, model=model, **sampling)
            print_json(reply)
        else:
            with client.chat(question, model=model, stream=True, **sampling) as stream, speech(plain) as out:
                for piece in stream:
                    out.say(piece)
                reply = stream.reply
    last.remember(reply)
