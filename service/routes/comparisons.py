"""Side-by-side questions: two answers to one prompt, shown blind, and which of them a person chose."""

import random
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field
from sqlite_utils import Database
from starlette.responses import JSONResponse

from service.answer import AnswerRequest
from service.comparisons import choose_pair, generate_candidates
from service.engine.router import version_name
from service.feedback_intake import digest_of, store_feedback
from service.http.checked_route import CheckedRoute
from service.http.dependencies import ChatCaller, FeedbackCaller, IdempotencyKey, service_of
from service.http.disconnects import unless_reader_leaves
from service.http.feedback_json import acknowledgement
from service.http.schemas import (
    REASONS,
    Body,
    Count,
    Index,
    Message,
    MinP,
    Name,
    Penalty,
    RepetitionPenalty,
    Temperature,
    TemplateArguments,
    TopP,
)
from service.sampling import PLAIN, Sampling
from store.comparisons import Comparison, add_comparison, get_comparison
from store.completions import Completion, add_completions, get_completion
from store.conversations import ensure_conversation
from store.feedback import Feedback
from store.ids import new_id, now
from store.raters import ensure_rater

router = APIRouter(tags=["feedback"], route_class=CheckedRoute)
_random = random.SystemRandom()


class ComparisonBody(Body):
    """POST /v1/comparisons."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=2000)]
    conversation_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    models: Annotated[list[Name], Field(min_length=2, max_length=2)] | None = None
    max_tokens: Count | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: Index | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: RepetitionPenalty | None = None
    min_p: MinP | None = None
    chat_template_kwargs: TemplateArguments | None = None


class ChoiceBody(Body):
    """POST /v1/comparisons/{id}/choice."""

    winner: Literal["A", "B", "tie", "both_bad"]
    reason: REASONS | None = None
    comment: Annotated[str, Field(max_length=10_000)] | None = None


@router.post("/v1/comparisons", status_code=201, response_model=None)
async def compare(request: Request, body: ComparisonBody, caller: ChatCaller) -> Response:
    """Ask a question: two answers to one prompt, on random sides, without the names of the models."""
    service = service_of(request)
    asked = {name: getattr(body, name) for name in PLAIN}  # the rest as chat samples
    sampling = Sampling(**asked, max_tokens=body.max_tokens)
    messages = tuple(message.plain() for message in body.messages)
    answer_request = AnswerRequest(
        caller,
        "comparison",
        "",
        (messages,),
        sampling,
        conversation_id=body.conversation_id,
        template_arguments=body.chat_template_kwargs or {},
    )
    wanted = service.settings.sampling.candidates
    generating = generate_candidates(service.dispatcher, answer_request, body.models, wanted)
    candidates, missing = await unless_reader_leaves(request, generating)
    texts, numbers = [candidate.text for candidate in candidates], [candidate.version for candidate in candidates]
    pair = choose_pair(texts, numbers, _random, is_named=body.models is not None)
    a, b = (
        replace(candidates[index], id=new_id("chatcmpl-"), choice=0, conversation_id=body.conversation_id)
        for index in (pair.a, pair.b)
    )
    comparison = Comparison(
        new_id("cmp-"), caller.rater_id, body.conversation_id, a.id, 0, b.id, 0, pair.reason, pair.propensity, now()
    )

    def store(db: Database) -> None:
        ensure_rater(db, caller.rater_id)
        if body.conversation_id is not None:
            ensure_conversation(db, body.conversation_id, caller.rater_id, str(a.messages[-1]["content"]))
        add_completions(db, [a, b])
        add_comparison(db, comparison)

    await service.records.write(store)
    question = {
        "id": comparison.id,
        "created_at": comparison.created_at,
        "conversation_id": body.conversation_id,
        "candidates": [
            {"label": label, "completion_id": side.id, "content": side.text} for label, side in (("A", a), ("B", b))
        ],
    }
    return JSONResponse({**question, **({"missing": missing} if missing else {})}, 201)


@router.post("/v1/comparisons/{comparison_id}/choice", status_code=201)
async def choose(
    request: Request,
    comparison_id: str,
    body: ChoiceBody,
    caller: FeedbackCaller,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Record which answer was better, and name the models. A later choice of the same rater replaces this one."""
    service = service_of(request)
    comparison, a, b = await service.records.read(lambda db: _sides(db, comparison_id, caller.owner_to_rate))
    feedback = Feedback(
        new_id("fb-"),
        "choice",
        caller.rater_id,
        a.id,
        a.choice,
        now(),
        digest_of(f"choice {comparison_id}", body),
        b.id,
        b.choice,
        comparison.id,
        winner=body.winner,
        reason=body.reason,
        comment=body.comment,
        idempotency_key=idempotency_key,
    )
    models = {
        label: version_name(side.version) if side.version is not None else side.backend
        for label, side in (("A", a), ("B", b))
    }
    stored, was_there = await store_feedback(service.records, service.metrics, feedback)
    return acknowledgement(stored, was_there, {"models": models})


def _sides(db: Database, comparison_id: str, owner: str | None) -> tuple[Comparison, Completion, Completion]:
    comparison = get_comparison(db, comparison_id, rater_id=owner)
    return (
        comparison,
        get_completion(db, comparison.a_completion_id, comparison.a_choice),
        get_completion(db, comparison.b_completion_id, comparison.b_choice),
    )
