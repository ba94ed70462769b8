"""Feedback of other programs into the store: each record becomes one feedback row with the completions it rates."""

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from typing import Any

from sqlite_utils import Database

from service.async_store import Records
from service.feedback_import_formats import ImportedFeedback, ImportFormat, is_open_webui, is_raw, parse_record
from service.model import Model
from store.completions import (
    Completion,
    add_completions,
    completion_of_record,
    completions_with_texts,
    get_completion,
)
from store.errors import UnknownCompletion, UnknownFeedback
from store.feedback import Feedback, add_feedback, get_feedback
from store.ids import now
from store.raters import ensure_rater
from store.versions import live_version

WINDOW = 500  # records written at a time
BACKEND = "import"  # the backend of completions that were not made here
BAD_RECORD = (ValueError, TypeError, KeyError, AttributeError)  # what parsing a record of unknown shape may raise
Row = tuple[list[Completion], Feedback]


@dataclass
class ImportReport:
    """How many records were added, how many were there before, and what is wrong with the others."""

    added: int = 0
    already_here: int = 0
    errors: list[str] = field(default_factory=list)


async def import_records(
    records: Records, model: Model, numbered: list[tuple[int, Any]], form: ImportFormat | None
) -> ImportReport:
    """Add numbered records of one form, or without `form` of any; those that were added before are skipped."""
    report = ImportReport()
    live = (await records.read(live_version)).number
    for start in range(0, len(numbered), WINDOW):
        window = numbered[start : start + WINDOW]
        known = await records.read(lambda db, window=window: rated_completions(db, window, form))  # type: ignore[misc]
        rows, errors = await asyncio.to_thread(_rows_of, window, form, model, live, known)
        added = await records.write(lambda db, rows=rows: add_rows(db, rows))  # type: ignore[misc]
        report.added += added
        report.already_here += len(rows) - added
        report.errors += errors
    return report


def rated_completions(db: Database, numbered: list[tuple[int, Any]], form: ImportFormat | None) -> list[Completion]:
    """Return our completions that Open WebUI's records may rate, since it is a front end of this service too."""
    texts = []
    for _, record in numbered:
        with contextlib.suppress(*BAD_RECORD):
            texts += [parse_record(record, form).completions[0].strip()] if is_open_webui(record, form) else []
    return completions_with_texts(db, texts) if texts else []


def _rows_of(
    numbered: list[tuple[int, Any]], form: ImportFormat | None, model: Model, live: int, known: list[Completion]
) -> tuple[list[Row], list[str]]:
    """Return the rows that records make, and what is wrong with the others. Renders on the calling thread."""
    rows: list[Row] = []
    errors: list[str] = []
    for number, record in numbered:
        try:
            if isinstance(record, ValueError):
                raise record
            if is_raw(record, form):
                rows.append(_raw_row(record, live))
            else:
                rows.append(row_of(parse_record(record, form), model, live, known))
        except BAD_RECORD as error:
            errors.append(f"record {number}: {error}")
    return rows, errors


def row_of(imported: ImportedFeedback, model: Model, live: int, known: list[Completion]) -> Row:
    """Return the row for imported feedback: on one of the `known` completions if it rates one, else on its own.

    Its own completions count for version `live`. They have token ids but no log-probabilities, since nobody here
    sampled them. Raises InvalidChat where the model's template refuses the conversation.
    """
    matching = [completion for completion in known if imported.rates(completion)]
    # a short text answers many prompts: the rater's own is meant, or the newest where the front end names no rater
    own = (completion for completion in matching if completion.rater_id == imported.rater)
    target = next(own, matching[0] if matching else None)
    completion_id, choice = (target.id, target.choice) if target is not None else (imported.completion_id, 0)
    feedback = Feedback(
        f"fb-{imported.id}",
        imported.kind,
        imported.rater,
        completion_id,
        choice,
        now(),
        imported.id,
        value=imported.value,
        comment=imported.comment,
        idempotency_key=imported.id,
    )
    if target is not None:
        return [], feedback
    completions = [_completion(imported, choice, model, live) for choice in range(len(imported.completions))]
    if imported.kind == "preference":
        feedback = replace(feedback, other_completion_id=imported.completion_id, other_choice=1)
    return completions, feedback


def _completion(imported: ImportedFeedback, choice: int, model: Model, live: int) -> Completion:
    text = imported.completions[choice]
    prompt_ids, completion_ids = model.completion_ids(imported.messages, text)
    return Completion(
        id=imported.completion_id,
        choice=choice,
        rater_id=imported.rater,
        kind="import",
        asked_model=BACKEND,
        backend=BACKEND,
        version=live,
        messages=list(imported.messages),
        prompt_ids=prompt_ids,
        completion_ids=completion_ids,
        logps=[],
        text=text,
        finish_reason="stop",
        created_at=now(),
    )


def _raw_row(record: Any, live: int) -> Row:
    """Return the row for what another Attune exported; its versions are not ours, so completions count as imported."""
    if not isinstance(record, dict):
        raise ValueError(f"a record is a JSON object, not {type(record).__name__}")
    completions = [
        replace(
            completion_of_record(side),
            backend=BACKEND,
            version=live if side["version"] is not None else None,
            logps=[],
            conversation_id=None,
        )
        for side in (record["completion"], record.get("other"))
        if side is not None
    ]
    return completions, replace(Feedback(**record["feedback"]), comparison_id=None, seq=None)


def add_rows(db: Database, rows: list[Row]) -> int:
    """Add the rows that are not there yet; return how many were added."""
    added = 0
    for completions, feedback in rows:
        with contextlib.suppress(UnknownFeedback):
            get_feedback(db, feedback.id)
            continue
        for completion in completions:
            ensure_rater(db, completion.rater_id)
            try:
                get_completion(db, completion.id, completion.choice)
            except UnknownCompletion:
                add_completions(db, [completion])
        ensure_rater(db, feedback.rater_id)
        add_feedback(db, feedback)
        added += 1
    return added
