"""Feedback of other programs into the store: each record becomes one feedback row with the completions it rates."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeGuard

from sqlite_utils import Database

from service.async_store import Records
from service.errors import BadRequest
from service.feedback_import_formats import ImportedFeedback, ImportFormat, is_raw, parse_record
from service.feedback_import_raw import BACKEND, raw_row
from service.http.json_values import BadValue, NotJson, json_value
from service.model import Model
from service.own_exports import exported_ids
from service.record_splitter import Record, RecordSplitter
from store.completions import Completion, add_completions, completions_with_texts, get_completion
from store.database import transaction
from store.errors import StoreError, UnknownCompletion, UnknownFeedback
from store.feedback import Feedback, add_feedback, get_feedback
from store.ids import now
from store.raters import ensure_rater
from store.versions import live_version

WINDOW = 100  # records that are written at a time, since other writes wait meanwhile
BLOCK_BYTES = 2**20  # of the body that are parsed at a time, on a thread
MOST_CHARACTERS = 500_000  # of a conversation that is tokenized: it takes a second, and 80 MB meanwhile
MOST_ERRORS = 100  # errors that are reported one by one
MOST_FAULTS = 10_000  # records at fault, after which the rest of the body is not read: it is something else
BAD_RECORD = (ValueError, TypeError, KeyError, AttributeError)  # what parsing a record of unknown shape may raise
REFUSED_ROW = (StoreError, sqlite3.IntegrityError, ValueError, OverflowError)  # what a row may raise that is written
Row = tuple[list[Completion], Feedback]
Numbered = tuple[int, ImportedFeedback | Row]


@dataclass
class ImportReport:
    """How many records were added, how many were there before, and what is wrong with the others."""

    added: int = 0
    already_here: int = 0
    faults: int = 0
    named: list[tuple[int, str]] = field(default_factory=list)

    def add_fault(self, number: int, error: Exception) -> None:
        """Count a record at fault; the first MOST_ERRORS are named."""
        self.faults += 1
        if len(self.named) < MOST_ERRORS:
            self.named.append((number, _described(error)))

    @property
    def errors(self) -> list[str]:
        """What is wrong with the records that are named, in their order."""
        lines = [f"record {number}: {reason}" for number, reason in sorted(self.named)]
        if self.is_hopeless:
            lines.append(f"{MOST_FAULTS} records are at fault, so the rest of the body was not read")
        return lines

    @property
    def is_hopeless(self) -> bool:
        """Whether so many records are at fault that reading on helps nobody."""
        return self.faults >= MOST_FAULTS


class Import:
    """One import under way: a body comes in blocks, and its records are written in windows.

    Parsing and rendering run on threads, so others are served meanwhile. At most a window, a block and a record are in
    memory.
    """

    def __init__(self, records: Records, model: Model, form: ImportFormat | None, max_record_bytes: int) -> None:
        self.report = ImportReport()
        self._records, self._model, self._form = records, model, form
        self._splitter = RecordSplitter(max_record_bytes)
        self._live = 0
        self._own: set[str] | None = None  # ids of what this service exports itself, once a record may be of it

    async def read(self, chunks: AsyncIterator[bytes]) -> ImportReport:
        """Add the records of a body. Those that were added before are skipped, those at fault are reported.

        What was written stays, also where the body breaks off. Raises BadRequest for a body in UTF-16.
        """
        self._live = (await self._records.read(live_version)).number
        block, is_first = bytearray(), True
        async for chunk in chunks:
            block += chunk
            if is_first and len(block) > 1:
                is_first = _require_utf_8(bytes(block[:2]))
            if len(block) >= BLOCK_BYTES and not self.report.is_hopeless:
                await self._add(bytes(block))
            if len(block) >= BLOCK_BYTES:
                block.clear()
        await self._add(bytes(block), is_last=True)
        return self.report

    async def _add(self, block: bytes, *, is_last: bool = False) -> None:
        parsed = await asyncio.to_thread(self._parsed, block, is_last)
        for start in range(0, len(parsed), WINDOW):
            await self._add_window(parsed[start : start + WINDOW])

    async def _add_window(self, window: Sequence[Numbered]) -> None:
        window = await self._without_own(window)
        imported = [one for _, one in window if isinstance(one, ImportedFeedback)]
        known = await self._records.read(lambda db: rated_completions(db, imported))
        rows = await asyncio.to_thread(self._rows, window, known)
        added, refused = await self._records.write(lambda db: add_rows(db, rows))
        self.report.added += added
        self.report.already_here += len(rows) - added - len(refused)
        for number, reason in refused:
            self.report.add_fault(number, reason)

    async def _without_own(self, window: Sequence[Numbered]) -> Sequence[Numbered]:
        """Return the records that this service does not export itself, and count the others as known."""
        if self._own is None and any(_is_of_trl(one) for _, one in window):
            self._own = await self._records.read(exported_ids)
        own = self._own or set()
        kept = [(number, one) for number, one in window if not (_is_of_trl(one) and one.id in own)]
        self.report.already_here += len(window) - len(kept)
        return kept

    def _parsed(self, block: bytes, is_last: bool) -> list[Numbered]:
        """Return what the records that end in a block hold; it runs on a thread."""
        parsed: list[Numbered] = []
        for number, text in self._split(block, is_last):
            try:
                parsed.append((number, self._parse(text)))
            except BAD_RECORD as error:
                self.report.add_fault(number, error)
            if self.report.is_hopeless:
                break
        return parsed

    def _split(self, block: bytes, is_last: bool) -> Iterable[Record]:
        if self.report.is_hopeless:
            return
        yield from self._splitter.feed(block)
        if is_last:
            yield from self._splitter.finish()

    def _parse(self, text: bytes | ValueError) -> ImportedFeedback | Row:
        if isinstance(text, ValueError):
            raise text
        record = json_value(text)
        if not isinstance(record, dict):
            raise ValueError(f"a record is a JSON object, not {type(record).__name__}")
        if is_raw(record, self._form):
            return raw_row(record, self._live, self._model.vocab_size)
        return parse_record(record, self._form)

    def _rows(self, window: Sequence[Numbered], known: list[Completion]) -> list[tuple[int, Row]]:
        """Return the rows that records make. Renders on the calling thread."""
        rows: list[tuple[int, Row]] = []
        for number, one in window:
            try:
                row = row_of(one, self._model, self._live, known) if isinstance(one, ImportedFeedback) else one
                rows.append((number, row))
            except BAD_RECORD as error:
                self.report.add_fault(number, error)
        return rows


def _is_of_trl(one: ImportedFeedback | Row) -> TypeGuard[ImportedFeedback]:
    return isinstance(one, ImportedFeedback) and not one.is_of_front_end


def _require_utf_8(start: bytes) -> bool:
    """Raise BadRequest for the first two bytes of UTF-16; return False."""
    if start in (b"\xff\xfe", b"\xfe\xff"):
        raise BadRequest("the body is UTF-16 text; save it as UTF-8", code="invalid_json")
    return False


def _described(error: Exception) -> str:
    if isinstance(error, NotJson):
        return f"not JSON ({error})"
    if isinstance(error, KeyError):
        return f"the field {error} is missing"
    if isinstance(error, (TypeError, AttributeError)):
        return f"a field has another type than it must have ({error})"
    return error.described if isinstance(error, BadValue) else str(error)


def rated_completions(db: Database, imported: Iterable[ImportedFeedback]) -> list[Completion]:
    """Return our completions that records of a front end may rate, since it is one of this service too."""
    texts = [one.completions[0].strip() for one in imported if one.is_of_front_end]
    return completions_with_texts(db, texts) if texts else []


def row_of(imported: ImportedFeedback, model: Model, live: int, known: list[Completion]) -> Row:
    """Return the row for imported feedback: on one of the `known` completions if it rates one, else on its own.

    Its own completions count for version `live`. They have token ids but no log-probabilities, since nobody here
    sampled them. Raises InvalidChat where the model's template refuses the conversation, and ValueError where it has
    more than MOST_CHARACTERS.
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
    num_characters = sum(len(message["content"]) for message in imported.messages) + len(text)
    if num_characters > MOST_CHARACTERS:
        raise ValueError(f"its conversation has {num_characters} characters; one may have {MOST_CHARACTERS}")
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


def add_rows(db: Database, rows: Iterable[tuple[int, Row]]) -> tuple[int, list[tuple[int, Exception]]]:
    """Add the rows that are not there yet.

    Returns how many were added, and which the store refused, by their records' numbers. Nothing of those is written.
    """
    added = 0
    refused: list[tuple[int, Exception]] = []
    for number, row in rows:
        try:
            with transaction(db):
                added += _add_row(db, row)
        except REFUSED_ROW as error:
            refused.append((number, error))
    return added, refused


def _add_row(db: Database, row: Row) -> bool:
    """Add a row; return False if it was there before."""
    completions, feedback = row
    try:
        get_feedback(db, feedback.id)
        return False
    except UnknownFeedback:
        pass
    for completion in completions:
        ensure_rater(db, completion.rater_id)
        try:
            get_completion(db, completion.id, completion.choice)
        except UnknownCompletion:
            add_completions(db, [completion])
    ensure_rater(db, feedback.rater_id)
    add_feedback(db, feedback)
    return True
