"""POST /v1/chat/completions: OpenAI's chat, answered by exactly one version, which the reply names."""

from collections.abc import AsyncIterator, Iterable
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from service.answer import Answer, Ask
from service.auth import Chatter, service_of
from service.engine.generation import Token
from service.errors import RequestError, as_request_error
from service.model import Model
from service.routes.schemas import ChatBody, refuse_unsupported
from service.routes.streams import ChunkWriter, EventStream, ReaderLeft, event, unless_reader_leaves

router = APIRouter(tags=["chat"])
CLIENT_CLOSED = 499  # nobody reads it; it stands in the metrics
READ_GRACE_S = 60.0  # how much longer than its generation an answer may take to be read


@router.post("/v1/chat/completions", response_model=None)
async def chat(request: Request, body: ChatBody, caller: Chatter) -> Response:
    """Answer a conversation, streamed or not. The reply's id is what feedback points to."""
    refuse_unsupported(body)
    service = service_of(request)
    ask = Ask(
        caller=caller.speaking_as(body.user, "user"),
        kind="chat",
        model=body.model,
        prompts=(tuple(message.plain() for message in body.messages),),
        sampling=body.sampling(service.settings.default_temperature),
        n=body.n or 1,
        conversation_id=body.conversation_id,
        metadata=body.metadata or {},
        may_drop_turns=body.truncation != "disabled",
        alternatives=body.top_logprobs or 0,
    )
    try:
        answer = await unless_reader_leaves(request, service.dispatcher.begin(ask))
    except ReaderLeft:
        return Response(status_code=CLIENT_CLOSED)
    if body.stream:
        chunks = _chunks(answer, service.model, with_logprobs=bool(body.logprobs), with_usage=body.include_usage)
        return EventStream(
            chunks, on_end=answer.close, headers=answer.headers, limit_s=service.settings.request_limit_s + READ_GRACE_S
        )
    try:
        tokens = await unless_reader_leaves(request, finished(answer))
    except ReaderLeft:
        return Response(status_code=CLIENT_CLOSED)
    finally:
        answer.close()
    return JSONResponse(_reply(answer, service.model, tokens if body.logprobs else None), headers=answer.headers)


async def finished(answer: Answer) -> list[list[Token]]:
    """Wait for all replies and record them; return the tokens that each of them shows, with the alternatives that were
    asked for.
    """
    return await answer.with_alternatives(await answer.finish())


def _reply(answer: Answer, model: Model, tokens: list[list[Token]] | None) -> dict[str, Any]:
    choices = [
        {
            "index": reply.index,
            "message": {"role": "assistant", "content": reply.text, "refusal": None},
            "logprobs": logprobs_of(model, tokens[reply.index]) if tokens is not None else None,
            "finish_reason": reply.finish_reason,
        }
        for reply in answer.replies
    ]
    return {**_head(answer, "chat.completion"), "choices": choices, "usage": usage_of(answer)}


async def _chunks(answer: Answer, model: Model, *, with_logprobs: bool, with_usage: bool) -> AsyncIterator[bytes]:
    """Give the chunks of a streamed answer. Each reply's last chunk, and [DONE], come only once the answer is on disk.
    """
    head = _head(answer, "chat.completion.chunk")
    write = ChunkWriter({**head, **({"usage": None} if with_usage else {})}).chunk
    for reply in answer.replies:
        delta = {"role": "assistant", "content": "", "refusal": None}
        yield write({"index": reply.index, "delta": delta, "logprobs": None, "finish_reason": None})
    wants_alternatives = (
        answer.ask.alternatives > 0
    )  # they come from one forward pass over the whole reply, so after its text
    shown: list[list[Token]] = [[] for _ in answer.replies]
    try:
        async for piece in answer.pieces():
            shown[piece.index].extend(piece.tokens if wants_alternatives else ())
            if piece.text or (with_logprobs and piece.tokens and not wants_alternatives):
                logprobs = logprobs_of(model, piece.tokens) if with_logprobs and not wants_alternatives else None
                yield write(
                    {
                        "index": piece.index,
                        "delta": {"content": piece.text},
                        "logprobs": logprobs,
                        "finish_reason": None,
                    }
                )
        await answer.record()
        if wants_alternatives:
            for index, tokens in enumerate(await answer.with_alternatives(shown)):
                yield write(
                    {
                        "index": index,
                        "delta": {"content": ""},
                        "logprobs": logprobs_of(model, tokens),
                        "finish_reason": None,
                    }
                )
    except (
        Exception
    ) as error:  # the status is long sent: the error goes into the stream, in the shape that OpenAI's SDK raises
        yield event(as_request_error(error).body())
        if not isinstance(error, RequestError):
            raise
        return
    for reply in answer.replies:
        yield write({"index": reply.index, "delta": {}, "logprobs": None, "finish_reason": reply.finish_reason})
    if with_usage:
        yield event({**head, "choices": [], "usage": usage_of(answer)})
    yield b"data: [DONE]\n\n"


def _head(answer: Answer, kind: str) -> dict[str, Any]:
    dropped = answer.prompts[0].dropped
    metadata = {**answer.ask.metadata, **({"dropped_messages": str(dropped)} if dropped else {})}
    return {
        "id": answer.id,
        "object": kind,
        "created": answer.created,
        "model": answer.model_name,
        "system_fingerprint": answer.digest,
        "service_tier": None,
        "conversation_id": answer.conversation_id,
        **({"metadata": metadata} if metadata else {}),
    }


def usage_of(answer: Answer) -> dict[str, int]:
    """Return OpenAI's counts; the end-of-turn token counts, since it was sampled."""
    prompt, reply = answer.prompt_tokens, answer.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": prompt + reply}


def logprobs_of(model: Model, tokens: Iterable[Token]) -> dict[str, Any]:
    """Return OpenAI's log-probabilities of the tokens that are shown."""
    content = [
        {
            **_logprob(model, token.id, token.logp),
            "top_logprobs": [_logprob(model, *other) for other in token.alternatives],
        }
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _logprob(model: Model, token_id: int, logp: float) -> dict[str, Any]:
    text, octets = model.token(token_id)
    return {"token": text, "logprob": logp, "bytes": octets}
