"""Side-by-side questions: two replies to one prompt, shown blind, and which of them a person took."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field
from sqlite_utils import Database
from starlette.responses import JSONResponse

from service.answer import Answer, Ask, Sampling
from service.auth import Caller, Chatter, Judge, service_of
from service.dispatcher import Dispatcher
from service.engine.router import LIVE_NAME, version_name
from service.errors import Overloaded, RequestError
from service.routes.chat import CLIENT_CLOSED
from service.routes.feedback import IdempotencyKey, digest_of, take_feedback
from service.routes.schemas import REASONS, Body, Message, Name
from service.routes.streams import ReaderLeft, unless_reader_leaves
from store.comparisons import Comparison, add_comparison, get_comparison
from store.completions import Completion, add_completions, get_completion
from store.conversations import ensure_conversation
from store.feedback import Feedback
from store.ids import new_id, now
from store.raters import ensure_rater

router = APIRouter(tags=["feedback"])
_random = random.SystemRandom()


class ComparisonBody(Body):
    """POST /v1/comparisons."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=2000)]
    conversation_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    models: Annotated[list[Name], Field(min_length=2, max_length=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None


class ChoiceBody(Body):
    """POST /v1/comparisons/{id}/choice."""

    winner: Literal["A", "B", "tie", "both_bad"]
    reason: REASONS | None = None
    comment: Annotated[str, Field(max_length=10_000)] | None = None


@dataclass(frozen=True)
class Pair:
    """Which two of the candidates are shown, on which sides, why, and with what probability just so."""

    a: int
    b: int
    reason: str
    propensity: float


@router.post("/v1/comparisons", status_code=201, response_model=None)
async def compare(request: Request, body: ComparisonBody, caller: Chatter) -> Response:
    """Put a question: two answers to one prompt, on random sides, without the names of who gave them."""
    service = service_of(request)
    try:
        candidates, missing = await unless_reader_leaves(
            request, _candidates(service.dispatcher, body, caller, service.settings.candidates)
        )
    except ReaderLeft:
        return Response(status_code=CLIENT_CLOSED)
    texts, numbers = [candidate.text for candidate in candidates], [candidate.version for candidate in candidates]
    pair = choose_pair(texts, numbers, _random, is_named=body.models is not None)
    sides = [
        replace(candidates[place], id=new_id("chatcmpl-"), choice=0, conversation_id=body.conversation_id)
        for place in (pair.a, pair.b)
    ]
    comparison = Comparison(
        new_id("cmp-"),
        caller.rater_id,
        body.conversation_id,
        sides[0].id,
        0,
        sides[1].id,
        0,
        pair.reason,
        pair.propensity,
        now(),
    )

    def keep(db: Database) -> None:
        ensure_rater(db, caller.rater_id)
        if body.conversation_id is not None:
            ensure_conversation(db, body.conversation_id, caller.rater_id, str(sides[0].messages[-1]["content"]))
        add_completions(db, sides)
        add_comparison(db, comparison)

    await service.records.write(keep)
    shown = [
        {"label": label, "completion_id": side.id, "content": side.text}
        for label, side in zip("AB", sides, strict=True)
    ]
    told = {
        "id": comparison.id,
        "created_at": comparison.created_at,
        "conversation_id": body.conversation_id,
        "candidates": shown,
    }
    return JSONResponse({**told, **({"missing": missing} if missing else {})}, 201)


@router.post("/v1/comparisons/{comparison_id}/choice", status_code=201)
async def choose(
    request: Request, comparison_id: str, body: ChoiceBody, caller: Judge, idempotency_key: IdempotencyKey = None
) -> JSONResponse:
    """Record which answer was better. Now the models are named; a later choice of the same rater replaces this one."""
    service = service_of(request)
    asked, a, b = await service.records.read(lambda db: _sides(db, comparison_id))
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
        asked.id,
        winner=body.winner,
        reason=body.reason,
        comment=body.comment,
        idempotency_key=idempotency_key,
    )
    models = {
        label: version_name(side.version) if side.version is not None else side.backend
        for label, side in (("A", a), ("B", b))
    }
    return await take_feedback(request, feedback, lambda db: None, {"models": models})


def choose_pair(
    texts: Sequence[str], versions: Sequence[int | None], rng: random.Random, *, is_named: bool = False
) -> Pair:
    """Choose two candidates with different texts, each such pair as likely as any other, on random sides.

    Between two versions only pairs across them count. When all texts are the same, any two are shown.
    """
    every = [
        (i, j) for i, j in combinations(range(len(texts)), 2) if len(set(versions)) == 1 or versions[i] != versions[j]
    ]
    pairs = every if is_named else [(i, j) for i, j in every if texts[i] != texts[j]] or every
    a, b = rng.choice(pairs)
    if rng.random() < 0.5:
        a, b = b, a
    reason = (
        "named" if is_named else "canary" if len(set(versions)) > 1 else "different" if texts[a] != texts[b] else "same"
    )
    return Pair(a, b, reason, 1 / len(pairs) / 2)


async def _candidates(
    answers: Dispatcher, body: ComparisonBody, caller: Caller, wanted: int
) -> tuple[list[Completion], list[str]]:
    """Generate what may be shown: `wanted` replies of live, half of them of the canary while there is one, or one of
    each named model.

    Where one of two models does not answer the other one gives both; returned with the names of those that did not.
    """
    arms = [(name, 1) for name in body.models] if body.models is not None else _arms(answers, wanted)
    found = await asyncio.gather(*(_replies(answers, body, caller, model, n) for model, n in arms))
    missing = [model for (model, _), replies in zip(arms, found, strict=True) if isinstance(replies, RequestError)]
    given = [
        (model, replies)
        for (model, _), replies in zip(arms, found, strict=True)
        if not isinstance(replies, RequestError)
    ]
    failure = next((replies for replies in found if isinstance(replies, RequestError)), None)
    if failure is not None and not given:
        raise failure
    candidates = [completion for _, replies in given for completion in replies]
    if len(candidates) == 1:  # one of two named models is left
        more = await _replies(answers, body, caller, given[0][0], 1)
        if isinstance(more, RequestError):
            raise more
        candidates += more
    return candidates, missing


async def _replies(
    answers: Dispatcher, body: ComparisonBody, caller: Caller, model: str, n: int
) -> list[Completion] | RequestError:
    """Return one arm's replies, or why it does not answer just now; what is wrong with the request itself is raised."""
    answer: Answer | None = None
    try:
        answer = await answers.begin(_ask(answers, body, caller, model, n))
        await answer.read()
        return answer.completions()
    except RequestError as error:
        if error.status < 500 or isinstance(error, Overloaded):
            raise
        return error
    finally:
        if answer is not None:
            answer.close()


def _arms(answers: Dispatcher, wanted: int) -> list[tuple[str, int]]:
    router = answers.engine.router
    if router is None or router.canary is None or router.share <= 0.0:
        return [(version_name(router.live) if router is not None else LIVE_NAME, wanted)]
    return [(version_name(router.live), wanted - wanted // 2), (version_name(router.canary), wanted // 2)]


def _ask(answers: Dispatcher, body: ComparisonBody, caller: Caller, model: str, n: int) -> Ask:
    temperature = body.temperature if body.temperature is not None else answers.settings.default_temperature
    sampling = Sampling(temperature=temperature, max_tokens=body.max_tokens)
    messages = tuple(message.plain() for message in body.messages)
    return Ask(caller, "comparison", model, (messages,), sampling, n, body.conversation_id)


def _sides(db: Database, comparison_id: str) -> tuple[Comparison, Completion, Completion]:
    asked = get_comparison(db, comparison_id)
    return (
        asked,
        get_completion(db, asked.a_completion_id, asked.a_choice),
        get_completion(db, asked.b_completion_id, asked.b_choice),
    )
