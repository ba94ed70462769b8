"""Feedback: one rating of one answer by one rater, on disk before it is acknowledged."""

from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, model_validator
from sqlite_utils import Database
from starlette.responses import JSONResponse

from service.feedback_intake import check_completions, digest_of, store_feedback
from service.http.checked_route import CheckedRoute
from service.http.dependencies import AdminCaller, FeedbackCaller, IdempotencyKey, RetractingCaller, service_of
from service.http.feedback_json import acknowledgement, feedback_json
from service.http.pagination import FEEDBACK_CURSOR, page_of
from service.http.schemas import REASONS, Body, Index, Metadata, Name, fault
from store.errors import UnknownFeedback
from store.feedback import Feedback, find_given, get_feedback, list_feedback, retract_feedback
from store.ids import new_id, now

router = APIRouter(tags=["feedback"], route_class=CheckedRoute)


class WorseAnswer(Body):
    """The answer that was worse than the one rated."""

    completion_id: Name
    choice: Index = 0


class FeedbackBody(Body):
    """POST /v1/feedback: exactly one of thumb, score, correction and preferred_over."""

    completion_id: Name
    choice: Index = 0
    thumb: Literal["up", "down"] | None = None
    score: Annotated[float, Field(ge=0, le=1)] | None = None
    correction: Annotated[str, Field(min_length=1, max_length=100_000)] | None = None
    preferred_over: WorseAnswer | None = None
    reason: REASONS | None = None
    comment: Annotated[str, Field(max_length=10_000)] | None = None
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _is_one_rating(self) -> "FeedbackBody":
        given = [name for name in ("thumb", "score", "correction", "preferred_over") if getattr(self, name) is not None]
        if len(given) != 1:
            given_names = f"got {' and '.join(given)}" if given else "got none"
            message = f"exactly one of thumb, score, correction and preferred_over is needed; {given_names}"
            raise fault(given[1] if given else "thumb", message)
        if self.correction is not None and not self.correction.strip():
            raise fault("correction", "correction: the answer it should have been cannot be empty")
        return self


@router.post("/v1/feedback", status_code=201)
async def give_feedback(
    request: Request, body: FeedbackBody, caller: FeedbackCaller, idempotency_key: IdempotencyKey = None
) -> JSONResponse:
    """Record a rating of one answer; it is on disk before the response goes out."""
    feedback = replace(
        _feedback(body),
        rater_id=caller.rater_id,
        idempotency_key=idempotency_key,
        body_digest=digest_of("feedback", body),
    )
    service = service_of(request)
    check = partial(check_completions, feedback=feedback, owner=caller.owner_to_rate)
    return acknowledgement(*await store_feedback(service.records, service.metrics, feedback, check))


@router.delete("/v1/feedback/{feedback_id}", status_code=204)
async def take_back(request: Request, feedback_id: str, caller: RetractingCaller) -> Response:
    """Retract feedback: the caller's own, or anybody's for an admin.

    What the same rater gave before or after on the same answer or pair goes with it: no thumb, score, correction or
    choice of theirs stands. One's own is also found by its Idempotency-Key. It is never learned from again.
    """

    def retract(db: Database) -> None:
        try:
            found = get_feedback(db, feedback_id, rater_id=caller.owner_to_read)
        except UnknownFeedback:
            found = find_given(db, caller.rater_id, feedback_id)
        retract_feedback(db, found.id, caller.rater_id)

    await service_of(request).records.write(retract)
    return Response(status_code=204)


@router.get("/v1/feedback")
async def all_feedback(
    request: Request,
    caller: AdminCaller,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    completion_id: str | None = None,
    rater: str | None = None,
) -> dict[str, Any]:
    """Page through all feedback, newest first."""
    before = FEEDBACK_CURSOR.read(cursor)
    found = await service_of(request).records.read(
        lambda db: list_feedback(
            db, before_seq=before[0] if before else None, limit=limit + 1, completion_id=completion_id, rater_id=rater
        )
    )
    return page_of(found, limit, feedback_json, lambda feedback: FEEDBACK_CURSOR.of(feedback.seq))


def _feedback(body: FeedbackBody) -> Feedback:
    """Return the row for a body, without its rater yet."""
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
