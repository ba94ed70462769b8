"""GET /v1/export and POST /v1/import: feedback out to other trainers, and in from other programs."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from sqlite_utils import Database
from starlette.responses import StreamingResponse

from service.auth import Admin, service_of
from service.errors import BadRequest
from service.feedback_formats import (
    ExportFormat,
    Imported,
    ImportFormat,
    exported,
    imported,
    is_open_webuis,
    records_of,
)
from service.model import Model
from service.records import Records
from store.completions import (
    Completion,
    add_completions,
    completion_of_record,
    completions_with_texts,
    get_completion,
)
from store.errors import UnknownCompletion, UnknownFeedback
from store.feedback import Feedback, add_feedback, feedback_to_learn, get_feedback, list_feedback
from store.ids import now
from store.raters import ensure_rater
from store.versions import live_version

router = APIRouter(tags=["data"])
WINDOW = 500  # feedback rows read, and records written, at a time
MOST_ERRORS = 100
MODEL_NAME = "import"  # the backend of replies that were not made here


@router.get("/v1/export", response_class=StreamingResponse)
async def export(request: Request, caller: Admin, format: ExportFormat = "preference") -> StreamingResponse:
    """Give feedback as JSON Lines: preference, unpaired and sft as TRL reads them (each rater's last word), raw with
    all there is.
    """
    lines = _lines(service_of(request).records, format)
    headers = {"Content-Disposition": f'attachment; filename="attune-{format}.jsonl"'}
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)


@router.post("/v1/import")
async def import_feedback(request: Request, caller: Admin, format: ImportFormat | None = None) -> dict[str, Any]:
    """Take in feedback of the same forms, or Open WebUI's export. What is here already is skipped and counted; lines at
    fault are named.
    """
    service = service_of(request)
    try:
        records = list(records_of(await request.body()))
    except ValueError as error:
        raise BadRequest(f"the body is neither JSON nor JSON Lines ({error})", code="invalid_json") from error
    done, here = 0, 0
    errors: list[str] = []
    live = (await service.records.read(live_version)).number
    for start in range(0, len(records), WINDOW):
        window = records[start : start + WINDOW]
        given = await service.records.read(lambda db, window=window: answers_given(db, window, format))  # type: ignore[misc]
        rows, wrong = await asyncio.to_thread(_rows_of, window, format, service.model, live, given)
        added = await service.records.write(lambda db, rows=rows: add_all(db, rows))  # type: ignore[misc]
        done, here, errors = done + added, here + len(rows) - added, errors + wrong
    return {"imported": done, "skipped": here + len(errors), "already_here": here, "errors": errors[:MOST_ERRORS]}


async def _lines(records: Records, form: ExportFormat) -> AsyncIterator[bytes]:
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


Row = tuple[list[Completion], Feedback]


def answers_given(db: Database, records: list[tuple[int, Any]], form: ImportFormat | None) -> list[Completion]:
    """Return the answers of ours that records of Open WebUI may be about: it is a front end, and what was rated there
    may have been said here.
    """
    texts = []
    for _, record in records:
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            texts += [imported(record, form).replies[0].strip()] if is_open_webuis(record, form) else []
    return completions_with_texts(db, texts) if texts else []


def _rows_of(
    records: list[tuple[int, Any]], form: ImportFormat | None, model: Model, live: int, given: list[Completion]
) -> tuple[list[Row], list[str]]:
    """Return the rows that records make, and what is wrong with the others. Renders on the calling thread."""
    rows: list[Row] = []
    wrong: list[str] = []
    for number, record in records:
        try:
            if isinstance(record, ValueError):
                raise record
            is_raw = form == "raw" or (
                form is None and isinstance(record, dict) and {"feedback", "completion"} <= set(record)
            )
            rows.append(_of_raw(record, live) if is_raw else of_imported(imported(record, form), model, live, given))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            wrong.append(f"record {number}: {error}")
    return rows, wrong


def of_imported(said: Imported, model: Model, live: int, given: list[Completion]) -> Row:
    """Return what one word from elsewhere adds: to an answer that was given here, if it is about one, else with the
    replies that it brings.

    Replies that were written elsewhere were sampled by nobody here: they have token ids, but no log-probabilities.
    """
    about = [reply for reply in given if said.is_about(reply)]
    # short answers are given to many: the rater's own, and where a front end does not say who asks the newest
    ours = next((reply for reply in about if reply.rater_id == said.rater), about[0] if about else None)
    target = (ours.id, ours.choice) if ours is not None else (said.replies_id, 0)
    feedback = Feedback(
        f"fb-{said.id}",
        said.kind,
        said.rater,
        *target,
        now(),
        said.id,
        value=said.value,
        comment=said.comment,
        idempotency_key=said.id,
    )
    if ours is not None:
        return [], feedback
    completions = []
    for choice, text in enumerate(said.replies):
        prompt_ids, completion_ids = model.completion_ids(said.messages, text)
        completions.append(
            Completion(
                id=said.replies_id,
                choice=choice,
                rater_id=said.rater,
                kind="import",
                asked_model=MODEL_NAME,
                backend=MODEL_NAME,
                version=live,
                messages=list(said.messages),
                prompt_ids=prompt_ids,
                completion_ids=completion_ids,
                logps=[],
                text=text,
                finish_reason="stop",
                created_at=now(),
            )
        )
    if said.kind == "preference":
        feedback = replace(feedback, other_completion_id=said.replies_id, other_choice=1)
    return completions, feedback


def _of_raw(record: Any, live: int) -> Row:
    """What another Attune exported; its versions are not ours, so its replies count as made elsewhere."""
    if not isinstance(record, dict):
        raise ValueError(f"a record is a JSON object, not {type(record).__name__}")
    completions = [
        replace(
            completion_of_record(side),
            backend=MODEL_NAME,
            version=live if side["version"] is not None else None,
            logps=[],
            conversation_id=None,
        )
        for side in (record["completion"], record.get("other"))
        if side is not None
    ]
    return completions, replace(Feedback(**record["feedback"]), comparison_id=None, seq=None)


def add_all(db: Database, rows: list[Row]) -> int:
    """Add what is not there yet; return how much that was."""
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
