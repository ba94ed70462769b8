"""The streams of the fake service: the chunks of an answer, and events."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from tests.sdk.fake_state import FakeState, deltas, token

ENGINE_ERROR = {
    "message": "The engine fell over.",
    "type": "server_error",
    "param": None,
    "code": "engine_failed",
}


async def chunks(service: FakeState, body: dict[str, Any], answer: dict[str, Any]) -> AsyncIterator[bytes]:
    """Yield the chunks of a streamed answer; count the streams that the reader left."""
    same = {name: answer[name] for name in ("id", "created", "model", "conversation_id", "system_fingerprint")}
    same["object"] = "chat.completion.chunk"

    def chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
        return b"data: " + json.dumps({**same, "choices": choices, **more}, ensure_ascii=False).encode() + b"\n\n"

    sent = 0
    try:
        for choice in answer["choices"]:
            yield chunk(
                [{"index": choice["index"], "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]
            )
            for delta in deltas(choice["message"]["content"]):
                logprobs = {"content": [token(delta)]} if body.get("logprobs") else None
                yield chunk(
                    [
                        {
                            "index": choice["index"],
                            "delta": {"content": delta},
                            "finish_reason": None,
                            "logprobs": logprobs,
                        }
                    ]
                )
                sent += 1
                if service.cut_stream_after and sent >= service.cut_stream_after:
                    return
                await asyncio.sleep(0.002)
            if choice["message"]["content"].endswith("fail in the middle"):
                yield b"data: " + json.dumps({"error": ENGINE_ERROR}).encode() + b"\n\n"
                return
            if choice["message"]["content"].endswith("and on"):
                await asyncio.sleep(30)
            yield chunk([{"index": choice["index"], "delta": {}, "finish_reason": "stop"}])
        if (body.get("stream_options") or {}).get("include_usage"):
            yield chunk([], usage=answer["usage"])
        yield b"data: [DONE]\n\n"
    except asyncio.CancelledError:
        service.cancelled += 1
        raise


async def events(service: FakeState, after: int | None) -> AsyncIterator[bytes]:
    """Yield the events after number `after`, for as long as the reader listens."""
    sent, last = 0, after if after is not None else len(service.events)
    yield b": hello\n\n"
    while True:
        for seq, kind, data in service.events:
            if seq > last:
                yield f"id: {seq}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()
                sent, last = sent + 1, seq
                if service.break_events_after and sent >= service.break_events_after:
                    return
        await asyncio.sleep(0.01)
