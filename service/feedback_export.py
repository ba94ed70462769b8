"""Feedback out of the store as JSON Lines, a window of rows at a time."""

import json
from collections.abc import AsyncIterator

from sqlite_utils import Database

from service.feedback_formats import ExportFormat, exported
from service.records import Records
from store.completions import get_completion
from store.feedback import feedback_to_learn, list_feedback

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
