"""`attune chat`: one question and its answer, or a conversation in the terminal."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

import attune
from attune.cli import last_answer
from attune.cli.options import Json, Key, Url, connect
from attune.cli.printing import print_json
from attune.cli.rendering import rendering_for


def chat(
    prompt: Annotated[
        list[str] | None,
        typer.Argument(help="The question. Without it: standard input, or a conversation.", show_default=False),
    ] = None,
    model: Annotated[str, typer.Option(help='"attune" is the live version, "attune@3" version 3.')] = "attune",
    system: Annotated[str | None, typer.Option(help="A system message.", show_default=False)] = None,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, max=2, help="0 always takes the likeliest token.", show_default="the service's"),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, in tokens.", show_default="the service's")
    ] = None,
    rater: Annotated[
        str | None, typer.Option(help="The user you act for; the key needs the scope act-as.", show_default=False)
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="No markdown.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Chat in the terminal. /help lists the commands for feedback."""
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
            raise typer.BadParameter("there is nothing to ask: give a prompt, or pipe one in")
        question = [*begin, {"role": "user", "content": text}]
        if as_json:
            answer = client.chat(question, model=model, **sampling)
            print_json(answer)
        else:
            with client.chat(question, model=model, stream=True, **sampling) as stream, rendering_for(plain) as out:
                for delta in stream:
                    out.add(delta)
                answer = stream.answer
    last_answer.remember(answer)
