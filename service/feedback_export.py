"""Feedback out of the store as JSON Lines, in TRL's forms or our own raw form, a window of rows at a time."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Any, Literal

from sqlite_utils import Database

from service.async_store import Records
from store.completions import Completion, get_completion
from store.feedback import Feedback, feedback_to_learn, list_feedback

ExportFormat = Literal["preference", "unpaired", "sft", "raw"]
Messages = list[dict[str, str]]
Record = dict[str, Any]
CompletionOf = Callable[[str, int], Completion]
WINDOW = 500  # feedback rows read at a time


async def exported_lines(records: Records, form: ExportFormat) -> AsyncIterator[bytes]:
    """Give the lines of all feedback in a form, oldest first, in blocks of at most WINDOW rows."""
    last = await records.read(lambda db: next(iter(list_feedback(db, limit=1)), None))
    for after in range(0, last.seq or 0 if last is not None else 0, WINDOW):
        yield await records.read(lambda db, after=after: _window(db, form, after))  # type: ignore[misc]


def _window(db: Database, form: ExportFormat, after: int) -> bytes:
    """Return the lines of feedback with `after < seq <= after + WINDOW`, oldest first."""
    if form == "raw":
        newest = list_feedback(db, before_seq=after + WINDOW + 1, limit=WINDOW)
        found = [feedback for feedback in reversed(newest) if (feedback.seq or 0) > after]
    else:
        found = feedback_to_learn(db, after, after + WINDOW)
    lines = [
        record
        for feedback in found
        for record in exported(feedback, form, lambda completion_id, choice: get_completion(db, completion_id, choice))
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def exported(feedback: Feedback, form: ExportFormat, completion_of: CompletionOf) -> list[Record]:
    """Return the records that feedback makes in a form; none where it does not fit the form.

    A score above a half counts as a thumb up; `both_bad` is two thumbs down; a tie makes no record. Only a thumb may be
    about an answer without text, or a preference against one.
    """
    rated = completion_of(feedback.completion_id, feedback.choice)
    other = (
        completion_of(feedback.other_completion_id, feedback.other_choice or 0)
        if feedback.other_completion_id is not None
        else None
    )
    if form == "raw":
        other_record = asdict(other) if other is not None else None
        return [{"feedback": asdict(feedback), "completion": asdict(rated), "other": other_record}]
    better, worse = _better_and_worse(feedback, rated, other)
    if form == "preference":
        if better is None or worse is None or not better.strip() or better == worse:
            return []
        return [{"prompt": rated.messages, "chosen": _turn(better), "rejected": _turn(worse)}]
    labels = _labels(feedback, rated, other)
    if form == "unpaired":
        return [{"prompt": rated.messages, "completion": _turn(text), "label": label} for text, label in labels]
    liked = better if better is not None else next((text for text, label in labels if label), None)
    return [{"messages": [*rated.messages, *_turn(liked)]}] if liked and liked.strip() else []


def _better_and_worse(feedback: Feedback, rated: Completion, other: Completion | None) -> tuple[str | None, str | None]:
    if feedback.kind == "correction":
        return feedback.text, rated.text
    if other is not None and (feedback.kind == "preference" or feedback.winner == "A"):
        return rated.text, other.text
    if other is not None and feedback.winner == "B":
        return other.text, rated.text
    return None, None


def _labels(feedback: Feedback, rated: Completion, other: Completion | None) -> list[tuple[str, bool]]:
    if feedback.kind in ("thumb", "score") and feedback.value is not None and feedback.value != 0.5:
        return [(rated.text, feedback.value > 0.5)]
    if feedback.winner == "both_bad" and other is not None:
        return [(rated.text, False), (other.text, False)]
    return []


def _turn(text: str | None) -> Messages:
    return [{"role": "assistant", "content": text or ""}]
