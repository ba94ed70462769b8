"""POST /v1/completions: OpenAI's legacy completions. A prompt is answered as a conversation of one user message, so
that it can be learned from.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from service.answer import Answer, Ask
from service.auth import Chatter, service_of
from service.engine.generation import Token
from service.errors import RequestError, as_request_error
from service.model import Model
from service.routes.chat import CLIENT_CLOSED, READ_GRACE_S, finished, usage_of
from service.routes.schemas import CompletionsBody, refuse_unsupported
from service.routes.streams import ChunkWriter, EventStream, ReaderLeft, event, unless_reader_leaves

router = APIRouter(tags=["chat"])


@router.post("/v1/completions", response_model=None)
async def complete(request: Request, body: CompletionsBody, caller: Chatter) -> Response:
    """Answer one prompt or several."""
    refuse_unsupported(body)
    service = service_of(request)
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    ask = Ask(
        caller=caller.speaking_as(body.user, "user"),
        kind="completion",
        model=body.model,
        prompts=tuple(({"role": "user", "content": prompt},) for prompt in prompts),
        sampling=body.sampling(service.settings.default_temperature),
        n=body.n or 1,
        metadata=body.metadata or {},
        alternatives=body.logprobs or 0,
    )
    try:
        answer = await unless_reader_leaves(request, service.dispatcher.begin(ask))
    except ReaderLeft:
        return Response(status_code=CLIENT_CLOSED)
    if body.stream:
        chunks = _chunks(answer, service.model, with_logprobs=body.logprobs is not None, with_usage=body.include_usage)
        return EventStream(
            chunks, on_end=answer.close, headers=answer.headers, limit_s=service.settings.request_limit_s + READ_GRACE_S
        )
    try:
        tokens = await unless_reader_leaves(request, finished(answer))
    except ReaderLeft:
        return Response(status_code=CLIENT_CLOSED)
    finally:
        answer.close()
    choices = [
        {
            "index": reply.index,
            "text": reply.text,
            "logprobs": logprobs_of(service.model, tokens[reply.index], 0) if body.logprobs is not None else None,
            "finish_reason": reply.finish_reason,
        }
        for reply in answer.replies
    ]
    return JSONResponse({**_head(answer), "choices": choices, "usage": usage_of(answer)}, headers=answer.headers)


async def _chunks(answer: Answer, model: Model, *, with_logprobs: bool, with_usage: bool) -> AsyncIterator[bytes]:
    head = _head(answer)
    write = ChunkWriter({**head, **({"usage": None} if with_usage else {})}).chunk
    places = [0] * len(answer.replies)
    wants_alternatives = (
        answer.ask.alternatives > 0
    )  # they come from one forward pass over the whole reply, so after its text
    shown: list[list[Token]] = [[] for _ in answer.replies]
    try:
        async for piece in answer.pieces():
            shown[piece.index].extend(piece.tokens if wants_alternatives else ())
            if piece.text or (with_logprobs and piece.tokens and not wants_alternatives):
                logprobs = (
                    logprobs_of(model, piece.tokens, places[piece.index])
                    if with_logprobs and not wants_alternatives
                    else None
                )
                places[piece.index] += len(piece.text)
                yield write({"index": piece.index, "text": piece.text, "logprobs": logprobs, "finish_reason": None})
        await answer.record()
        if wants_alternatives:
            for index, tokens in enumerate(await answer.with_alternatives(shown)):
                yield write(
                    {"index": index, "text": "", "logprobs": logprobs_of(model, tokens, 0), "finish_reason": None}
                )
    except Exception as error:  # the status is long sent: the error goes into the stream
        yield event(as_request_error(error).body())
        if not isinstance(error, RequestError):
            raise
        return
    for reply in answer.replies:
        yield write({"index": reply.index, "text": "", "logprobs": None, "finish_reason": reply.finish_reason})
    if with_usage:
        yield event({**head, "choices": [], "usage": usage_of(answer)})
    yield b"data: [DONE]\n\n"


def _head(answer: Answer) -> dict[str, Any]:
    return {
        "id": answer.id,
        "object": "text_completion",
        "created": answer.created,
        "model": answer.model_name,
        "system_fingerprint": answer.digest,
    }


def logprobs_of(model: Model, tokens: Sequence[Token], place: int) -> dict[str, Any]:
    """Return the legacy shape; `place` is how many characters of the reply were given before."""
    texts = [model.token(token.id)[0] for token in tokens]
    offsets = []
    for text in texts:
        offsets.append(place)
        place += len(text)
    likeliest = [{model.token(other)[0]: logp for other, logp in token.alternatives} for token in tokens]
    top = likeliest if any(likeliest) else None
    return {
        "tokens": texts,
        "token_logprobs": [token.logp for token in tokens],
        "top_logprobs": top,
        "text_offset": offsets,
    }
