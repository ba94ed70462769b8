"""Feedback as the contract's JSON, and the response that acknowledges it."""

from typing import Any

from starlette.responses import JSONResponse

from store.feedback import Feedback


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
