"""Feedback: one word of one rater on one reply, on disk before it is acknowledged."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import Field, model_validator
from sqlite_utils import Database
from starlette.responses import JSONResponse

from service.auth import Admin, Judge, service_of
from service.errors import Forbidden, Unprocessable
from service.routes.pagination import page_of
from service.routes.schemas import REASONS, Body
from store.completions import get_completion
from store.feedback import Feedback, add_feedback, get_feedback, list_feedback, retract_feedback
from store.ids import new_id, now
from store.raters import ensure_rater

router = APIRouter(tags=["feedback"])
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]


class WorseAnswer(Body):
    """The answer that was worse than the one rated."""

    completion_id: str
    choice: Annotated[int, Field(ge=0)] = 0


class FeedbackBody(Body):
    """POST /v1/feedback: exactly one of thumb, score, correction and preferred_over."""

    completion_id: str
    choice: Annotated[int, Field(ge=0)] = 0
    thumb: Literal["up", "down"] | None = None
    score: Annotated[float, Field(ge=0, le=1)] | None = None
    correction: Annotated[str, Field(min_length=1, max_length=100_000)] | None = None
    preferred_over: WorseAnswer | None = None
    reason: REASONS | None = None
    comment: Annotated[str, Field(max_length=10_000)] | None = None
    metadata: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> "FeedbackBody":
        given = [name for name in ("thumb", "score", "correction", "preferred_over") if getattr(self, name) is not None]
        if len(given) != 1:
            said = f"got {' and '.join(given)}" if given else "got none"
            raise ValueError(f"exactly one of thumb, score, correction and preferred_over is needed; {said}")
        if self.correction is not None and not self.correction.strip():
            raise ValueError("correction: the answer it should have been cannot be empty")
        return self


@router.post("/v1/feedback", status_code=201)
async def give_feedback(
    request: Request, body: FeedbackBody, caller: Judge, idempotency_key: IdempotencyKey = None
) -> JSONResponse:
    """Record what the caller thought of one reply; on disk before the answer goes out."""
    feedback = replace(
        _feedback(body),
        rater_id=caller.rater_id,
        idempotency_key=idempotency_key,
        body_digest=digest_of("feedback", body),
    )
    return await take_feedback(request, feedback, lambda db: _check(db, feedback))


@router.delete("/v1/feedback/{feedback_id}", status_code=204)
async def take_back(request: Request, feedback_id: str, caller: Judge) -> Response:
    """Retract feedback: the caller's own, or anybody's for an admin. It is never learned from again."""

    def retract(db: Database) -> None:
        if get_feedback(db, feedback_id).rater_id != caller.rater_id and not caller.may("admin"):
            raise Forbidden("only who gave this feedback, or an admin, can take it back")
        retract_feedback(db, feedback_id, caller.rater_id)

    await service_of(request).records.write(retract)
    return Response(status_code=204)


@router.get("/v1/feedback")
async def all_feedback(
    request: Request,
    caller: Admin,
    cursor: int | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    completion_id: str | None = None,
    rater: str | None = None,
) -> dict[str, Any]:
    """Page through all feedback, newest first."""
    found = await service_of(request).records.read(
        lambda db: list_feedback(db, before_seq=cursor, limit=limit + 1, completion_id=completion_id, rater_id=rater)
    )
    return page_of(found, limit, said, lambda feedback: feedback.seq)


async def take_feedback(
    request: Request, feedback: Feedback, check: Callable[[Database], None], more: dict[str, Any] | None = None
) -> JSONResponse:
    """Append feedback if `check` lets it, and answer once it is on disk: 201, or 200 for a key and body that came
    before.
    """

    def add(db: Database) -> tuple[Feedback, bool]:
        check(db)
        ensure_rater(db, feedback.rater_id)
        return add_feedback(db, feedback)

    service = service_of(request)
    kept, was_there = await service.records.write(add)
    if was_there:
        return JSONResponse({**said(kept), **(more or {})}, 200, {"Idempotent-Replayed": "true"})
    service.metrics.feedback.labels(kept.kind).inc()
    return JSONResponse({**said(kept), **(more or {})}, 201)


def digest_of(what: str, body: Body) -> str:
    """Return the digest by which a body that came twice is known."""
    return hashlib.sha256(f"{what} {json.dumps(body.model_dump(), sort_keys=True)}".encode()).hexdigest()


def said(feedback: Feedback) -> dict[str, Any]:
    """Return feedback as the contract shows it; fields that it does not have are left out."""
    other = {"completion_id": feedback.other_completion_id, "choice": feedback.other_choice}
    shown = {
        "id": feedback.id,
        "completion_id": feedback.completion_id,
        "choice": feedback.choice,
        "kind": feedback.kind,
        "created_at": feedback.created_at,
        "rater": feedback.rater_id,
        "seq": feedback.seq,
        "thumb": ("up" if feedback.value else "down") if feedback.kind == "thumb" else None,
        "score": feedback.value if feedback.kind == "score" else None,
        "correction": feedback.text,
        "preferred_over": other if feedback.kind == "preference" else None,
        "instead": other if feedback.kind == "regenerate" else None,
        "comparison_id": feedback.comparison_id,
        "winner": feedback.winner,
        "reason": feedback.reason,
        "comment": feedback.comment,
        "metadata": feedback.metadata or None,
        "retracted_at": feedback.retracted_at,
    }
    return {name: value for name, value in shown.items() if value is not None}


def _feedback(body: FeedbackBody) -> Feedback:
    """Return the row that a body stands for, without its rater yet."""
    blank = Feedback(
        id=new_id("fb-"),
        kind="",
        rater_id="",
        completion_id=body.completion_id,
        choice=body.choice,
        created_at=now(),
        body_digest="",
        reason=body.reason,
        comment=body.comment,
        metadata=body.metadata or {},
    )
    if body.thumb is not None:
        return replace(blank, kind="thumb", value=1.0 if body.thumb == "up" else 0.0)
    if body.score is not None:
        return replace(blank, kind="score", value=body.score)
    if body.correction is not None:
        return replace(blank, kind="correction", text=body.correction)
    assert body.preferred_over is not None
    return replace(
        blank,
        kind="preference",
        other_completion_id=body.preferred_over.completion_id,
        other_choice=body.preferred_over.choice,
    )


def _check(db: Database, feedback: Feedback) -> None:
    """Raise unless the replies exist and, for a preference, answer the same prompt."""
    better = get_completion(db, feedback.completion_id, feedback.choice)
    if feedback.other_completion_id is None:
        return
    worse = get_completion(db, feedback.other_completion_id, feedback.other_choice or 0)
    if (worse.id, worse.choice) == (better.id, better.choice):
        raise Unprocessable("preferred_over: an answer cannot be preferred over itself", param="preferred_over")
    if worse.messages != better.messages:
        raise Unprocessable("preferred_over: the two answers are to different prompts", param="preferred_over")
