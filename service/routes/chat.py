"""POST /v1/chat/completions: OpenAI's chat, answered by exactly one version, which the response names."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from service.answer import Answer, AnswerRequest
from service.engine.generation import Token
from service.http.answer_response import Choice, respond
from service.http.checked_route import CheckedRoute
from service.http.dependencies import ChatCaller, service_of
from service.http.schemas import ChatBody, refuse_unsupported
from service.model import Model

router = APIRouter(tags=["chat"], route_class=CheckedRoute)


@router.post("/v1/chat/completions", response_model=None)
async def chat(request: Request, body: ChatBody, caller: ChatCaller) -> Response:
    """Answer a conversation, streamed or not. Feedback refers to the id of the response."""
    refuse_unsupported(body)
    service = service_of(request)
    answer_request = AnswerRequest(
        caller=caller.for_user(body.user),
        kind="chat",
        model=body.model,
        prompts=(tuple(message.plain() for message in body.messages),),
        sampling=body.sampling(),
        n=body.n or 1,
        conversation_id=body.conversation_id,
        metadata=body.metadata or {},
        may_drop_turns=body.truncation != "disabled",
        template_arguments=body.chat_template_kwargs or {},
        alternatives=body.top_logprobs or 0,
    )
    return await respond(
        request,
        answer_request,
        lambda answer: ChatFormat(answer, service.model),
        stream=bool(body.stream),
        with_logprobs=bool(body.logprobs),
        with_usage=body.include_usage,
    )


class ChatFormat:
    """OpenAI's chat completion and its chunks; see AnswerFormat."""

    def __init__(self, answer: Answer, model: Model) -> None:
        self._answer, self._model = answer, model

    def head(self, *, is_chunk: bool) -> dict[str, Any]:
        answer = self._answer
        dropped = answer.prompts[0].dropped
        metadata = {**answer.request.metadata, **({"dropped_messages": str(dropped)} if dropped else {})}
        return {
            "id": answer.id,
            "object": "chat.completion.chunk" if is_chunk else "chat.completion",
            "created": answer.created,
            "model": answer.model_name,
            "system_fingerprint": answer.digest,
            "service_tier": None,
            "conversation_id": answer.conversation_id,
            **({"metadata": metadata} if metadata else {}),
        }

    def choice(self, index: int, tokens: Sequence[Token] | None) -> Choice:
        generation = self._answer.generations[index]
        return {
            "index": index,
            "message": {"role": "assistant", "content": generation.text, "refusal": None},
            "logprobs": self._logprobs(tokens),
            "finish_reason": generation.finish_reason,
        }

    def first_choices(self) -> Iterator[Choice]:
        for generation in self._answer.generations:
            delta = {"role": "assistant", "content": "", "refusal": None}
            yield {"index": generation.index, "delta": delta, "logprobs": None, "finish_reason": None}

    def delta_choice(self, index: int, text: str, tokens: Sequence[Token] | None) -> Choice:
        return {
            "index": index,
            "delta": {"content": text},
            "logprobs": self._logprobs(tokens),
            "finish_reason": None,
        }

    def last_choice(self, index: int, finish_reason: str | None) -> Choice:
        return {"index": index, "delta": {}, "logprobs": None, "finish_reason": finish_reason}

    def _logprobs(self, tokens: Sequence[Token] | None) -> dict[str, Any] | None:
        return logprobs_of(self._model, tokens) if tokens is not None else None


def logprobs_of(model: Model, tokens: Iterable[Token]) -> dict[str, Any]:
    """Return OpenAI's log-probabilities of the tokens that are shown."""
    content = [
        {
            **_logprob(model, token.id, token.logp, token.is_first),
            "top_logprobs": [_logprob(model, *other, token.is_first) for other in token.alternatives],
        }
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _logprob(model: Model, token_id: int, logp: float, is_first: bool) -> dict[str, Any]:
    text, octets = model.token(token_id, is_first)
    return {"token": text, "logprob": logp, "bytes": octets}
