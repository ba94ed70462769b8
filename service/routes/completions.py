"""POST /v1/completions: OpenAI's legacy completions.

A prompt is answered as a conversation of one user message, so that feedback on it can be learned from.
"""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from service.answer import Answer, AnswerRequest
from service.engine.generation import Token
from service.http.answer_response import Choice, respond
from service.http.checked_route import CheckedRoute
from service.http.dependencies import ChatCaller, service_of
from service.http.schemas import CompletionsBody, refuse_unsupported
from service.model import Model

router = APIRouter(tags=["chat"], route_class=CheckedRoute)


@router.post("/v1/completions", response_model=None)
async def complete(request: Request, body: CompletionsBody, caller: ChatCaller) -> Response:
    """Answer one prompt or several."""
    refuse_unsupported(body)
    service = service_of(request)
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    answer_request = AnswerRequest(
        caller=caller.for_user(body.user),
        kind="completion",
        model=body.model,
        prompts=tuple(({"role": "user", "content": prompt},) for prompt in prompts),
        sampling=body.sampling(),
        n=body.n or 1,
        metadata=body.metadata or {},
        alternatives=body.logprobs or 0,
    )
    return await respond(
        request,
        answer_request,
        lambda answer: CompletionsFormat(answer, service.model),
        stream=bool(body.stream),
        with_logprobs=body.logprobs is not None,
        with_usage=body.include_usage,
    )


class CompletionsFormat:
    """OpenAI's text completion and its chunks; see AnswerFormat."""

    def __init__(self, answer: Answer, model: Model) -> None:
        self._answer, self._model = answer, model

    def head(self, *, is_chunk: bool) -> dict[str, Any]:
        answer = self._answer
        return {
            "id": answer.id,
            "object": "text_completion",
            "created": answer.created,
            "model": answer.model_name,
            "system_fingerprint": answer.digest,
        }

    def choice(self, index: int, tokens: Sequence[Token] | None) -> Choice:
        generation = self._answer.generations[index]
        logprobs = logprobs_of(self._model, tokens) if tokens is not None else None
        return {
            "index": index,
            "text": generation.text,
            "logprobs": logprobs,
            "finish_reason": generation.finish_reason,
        }

    def first_choices(self) -> Sequence[Choice]:
        return ()

    def delta_choice(self, index: int, text: str, tokens: Sequence[Token] | None) -> Choice:
        logprobs = logprobs_of(self._model, tokens) if tokens is not None else None
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": None}

    def last_choice(self, index: int, finish_reason: str | None) -> Choice:
        return {"index": index, "text": "", "logprobs": None, "finish_reason": finish_reason}


def logprobs_of(model: Model, tokens: Sequence[Token]) -> dict[str, Any]:
    """Return the legacy log-probabilities; `text_offset` counts the characters of the completion before each token."""
    likeliest = [
        {model.token(other, token.is_first)[0]: logp for other, logp in token.alternatives} for token in tokens
    ]
    return {
        "tokens": [model.token(token.id, token.is_first)[0] for token in tokens],
        "token_logprobs": [token.logp for token in tokens],
        "top_logprobs": likeliest if any(likeliest) else None,
        "text_offset": [token.offset for token in tokens],
    }
