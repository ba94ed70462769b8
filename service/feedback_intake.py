"""Feedback as it comes in: checked, stored before it is acknowledged, and shown as the contract's JSON."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from sqlite_utils import Database
from starlette.responses import JSONResponse

from service.errors import Unprocessable
from service.metrics import Metrics
from service.records import Records
from store.completions import get_completion
from store.feedback import Feedback, add_feedback
from store.raters import ensure_rater


async def store_feedback(
    records: Records, metrics: Metrics, feedback: Feedback, check: Callable[[Database], None] = lambda db: None
) -> tuple[Feedback, bool]:
    """Append feedback if `check` raises nothing. Returns the stored row, and whether it was there before.

    It was there before if its idempotency key and its body digest came once already. It is on disk on return. Raises
    IdempotencyConflict for the same key with another digest, UnknownCompletion, and what `check` raises.
    """

    def add(db: Database) -> tuple[Feedback, bool]:
        check(db)
        ensure_rater(db, feedback.rater_id)
        return add_feedback(db, feedback)

    stored, was_there = await records.write(add)
    if not was_there:
        metrics.feedback.labels(stored.kind).inc()
    return stored, was_there


def check_completions(db: Database, feedback: Feedback) -> None:
    """Raise unless the rated answers exist and, for a preference, are two answers to the same prompt.

    Raises UnknownCompletion, Unprocessable.
    """
    better = get_completion(db, feedback.completion_id, feedback.choice)
    if feedback.other_completion_id is None:
        return
    worse = get_completion(db, feedback.other_completion_id, feedback.other_choice or 0)
    if (worse.id, worse.choice) == (better.id, better.choice):
        raise Unprocessable("preferred_over: an answer cannot be preferred over itself", param="preferred_over")
    if worse.messages != better.messages:
        raise Unprocessable("preferred_over: the two answers are to different prompts", param="preferred_over")


def digest_of(what: str, body: BaseModel) -> str:
    """Return the digest that identifies a body that is sent twice."""
    return hashlib.sha256(f"{what} {json.dumps(body.model_dump(), sort_keys=True)}".encode()).hexdigest()


def feedback_json(feedback: Feedback) -> dict[str, Any]:
    """Return feedback as the contract shows it; fields without a value are left out."""
    other = {"completion_id": feedback.other_completion_id, "choice": feedback.other_choice}
    fields = {
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
    return {name: value for name, value in fields.items() if value is not None}


def acknowledgement(stored: Feedback, was_there: bool, extra: dict[str, Any] | None = None) -> JSONResponse:
    """Return the response for stored feedback: 201, or 200 for a key and body that came before."""
    headers = {"Idempotent-Replayed": "true"} if was_there else None
    return JSONResponse({**feedback_json(stored), **(extra or {})}, 200 if was_there else 201, headers)
