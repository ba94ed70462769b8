"""Feedback as it comes in: checked, and stored before it is acknowledged."""

import hashlib
import json
from collections.abc import Callable

from pydantic import BaseModel
from sqlite_utils import Database

from service.async_store import Records
from service.errors import Unprocessable
from service.metrics import Metrics
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


def check_completions(db: Database, feedback: Feedback, owner: str | None = None) -> None:
    """Raise unless the rated answers exist and, for a preference, are two answers to the same prompt.

    With `owner`, only answers that this rater asked for exist. Raises UnknownCompletion, Unprocessable.
    """
    better = get_completion(db, feedback.completion_id, feedback.choice, rater_id=owner)
    if feedback.other_completion_id is None:
        return
    worse = get_completion(db, feedback.other_completion_id, feedback.other_choice or 0, rater_id=owner)
    if (worse.id, worse.choice) == (better.id, better.choice):
        raise Unprocessable("preferred_over: an answer cannot be preferred over itself", param="preferred_over")
    if worse.messages != better.messages:
        raise Unprocessable("preferred_over: the two answers are to different prompts", param="preferred_over")


def digest_of(what: str, body: BaseModel) -> str:
    """Return the digest that identifies a body that is sent twice."""
    return hashlib.sha256(f"{what} {json.dumps(body.model_dump(), sort_keys=True)}".encode()).hexdigest()
