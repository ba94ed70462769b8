"""How an answer goes out: whole or as a stream of chunks, in the format of the route that was asked."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Protocol

from fastapi import Request, Response
from starlette.responses import JSONResponse

from service.answer import Answer, AnswerRequest
from service.engine.generation import TextDelta, Token
from service.errors import RequestError, as_request_error
from service.http.dependencies import service_of
from service.http.disconnects import unless_reader_leaves
from service.http.sse import ChunkWriter, EventStream, event
from store.errors import StoreError

READ_GRACE_S = 60.0  # how much longer than its generation an answer may take to be read
Choice = dict[str, Any]


class AnswerFormat(Protocol):
    """One of OpenAI's formats for one answer. `tokens` None means a choice without log-probabilities."""

    def head(self, *, is_chunk: bool) -> dict[str, Any]:
        """Return the fields beside `choices`."""

    def choice(self, index: int, tokens: Sequence[Token] | None) -> Choice:
        """Return one choice of a whole answer."""

    def first_choices(self) -> Iterable[Choice]:
        """Give the choices of the chunks that come before any text."""

    def delta_choice(self, index: int, text: str, tokens: Sequence[Token] | None) -> Choice:
        """Return the choice of one chunk. It is called in order, so that a format may count what went before."""

    def last_choice(self, index: int, finish_reason: str | None) -> Choice:
        """Return the choice of a chunk that ends a choice."""


class MakeFormat(Protocol):
    """Makes the format of an answer that has begun."""

    def __call__(self, answer: Answer) -> AnswerFormat: ...


async def respond(
    request: Request,
    answer_request: AnswerRequest,
    make_format: MakeFormat,
    *,
    stream: bool,
    with_logprobs: bool,
    with_usage: bool,
) -> Response:
    """Begin an answer and return it as a whole or as a stream. Raises RequestError, ReaderLeft among them."""
    service = service_of(request)
    answer = await unless_reader_leaves(request, service.dispatcher.begin(answer_request))
    form = make_format(answer)
    if stream:
        chunks = _chunks(answer, form, with_logprobs=with_logprobs, with_usage=with_usage)
        limit_s = service.settings.limits.request_s + READ_GRACE_S
        return EventStream(chunks, on_end=answer.close, headers=answer.headers, limit_s=limit_s)
    try:
        tokens = await unless_reader_leaves(request, _finished(answer))
    finally:
        answer.close()
    choices = [
        form.choice(generation.index, tokens[generation.index] if with_logprobs else None)
        for generation in answer.generations
    ]
    return JSONResponse(
        {**form.head(is_chunk=False), "choices": choices, "usage": usage_of(answer)}, headers=answer.headers
    )


def usage_of(answer: Answer) -> dict[str, int]:
    """Return OpenAI's counts; the end-of-turn token counts, since it was sampled."""
    prompt, completion = answer.prompt_tokens, answer.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


async def _finished(answer: Answer) -> list[list[Token]]:
    """Wait until the answer is recorded; return the shown tokens of each generation, with alternatives if asked for."""
    return await answer.with_alternatives(await answer.finish())


async def _chunks(answer: Answer, form: AnswerFormat, *, with_logprobs: bool, with_usage: bool) -> AsyncIterator[bytes]:
    """Give the chunks of a streamed answer. Those that end it, and [DONE], come only once the answer is on disk."""
    head = form.head(is_chunk=True)
    write = ChunkWriter({**head, **({"usage": None} if with_usage else {})}).chunk
    for choice in form.first_choices():
        yield write(choice)
    try:
        async for choice in _delta_choices(answer, form, with_logprobs):
            yield write(choice)
    except Exception as error:  # the status is long sent, so the error goes into the stream, as OpenAI's SDK expects
        yield event(as_request_error(error).body())
        if not isinstance(error, RequestError | StoreError):
            raise
        return
    for generation in answer.generations:
        yield write(form.last_choice(generation.index, generation.finish_reason))
    if with_usage:
        yield event({**head, "choices": [], "usage": usage_of(answer)})
    yield b"data: [DONE]\n\n"


async def _delta_choices(answer: Answer, form: AnswerFormat, with_logprobs: bool) -> AsyncIterator[Choice]:
    """Give the choices of chunks with text, and record the answer after the last.

    Alternatives come from one forward pass over the whole generation, so log-probabilities with alternatives follow
    the text in chunks of their own.
    """
    wants_alternatives = answer.request.alternatives > 0
    logprobs_now = with_logprobs and not wants_alternatives
    shown: list[list[Token]] = [[] for _ in answer.generations]
    async for delta in answer.deltas():
        if wants_alternatives:
            shown[delta.index].extend(delta.tokens)
        if _has_content(delta, logprobs_now):
            yield form.delta_choice(delta.index, delta.text, delta.tokens if logprobs_now else None)
    await answer.record()
    if wants_alternatives:
        for index, tokens in enumerate(await answer.with_alternatives(shown)):
            yield form.delta_choice(index, "", tokens)


def _has_content(delta: TextDelta, with_logprobs: bool) -> bool:
    return bool(delta.text) or (with_logprobs and bool(delta.tokens))
