"""Records of our own raw export, checked field by field: nothing between here and the learner checks them again."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.http.schemas import Index, Name, fault
from service.http.validation_errors import request_error
from store.completions import Completion, completion_of_record
from store.feedback import Feedback

Record = dict[str, Any]
BACKEND = "import"  # the backend of completions that were not made here
FIRST_YEAR = 1970


def _as_utc(text: str) -> str:
    """Return a time as the store writes it. Raises ValueError."""
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None or at.year < FIRST_YEAR:
            raise ValueError
        return at.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"must be a time of ISO 8601 with its offset, such as 2026-01-31T12:00:00+00:00, not {text[:40]!r}"
        ) from error


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must hold printable characters alone")
    return text


Time = Annotated[str, AfterValidator(_as_utc)]
RaterId = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_printable)]
TokenIds = list[Annotated[int, Field(ge=0, lt=2**32)]]
Short = Annotated[str, Field(max_length=200)]


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Message(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str


class _Completion(_Fields):
    id: Name
    choice: Index
    rater_id: RaterId
    kind: Literal["chat", "completion", "comparison", "import"]
    asked_model: Short
    backend: Short
    version: Index | None
    messages: Annotated[list[_Message], Field(min_length=1)]
    prompt_ids: TokenIds
    completion_ids: TokenIds
    logps: list[float]
    text: str
    finish_reason: Short
    created_at: Time
    conversation_id: Short | None = None
    settings: Record = {}
    propensity: Annotated[float, Field(ge=0, le=1)] = 1.0


class _Feedback(_Fields):
    id: Name
    kind: Literal["thumb", "score", "correction", "preference", "choice", "regenerate"]
    rater_id: RaterId
    completion_id: Name
    choice: Index
    created_at: Time
    body_digest: Short
    other_completion_id: Name | None = None
    other_choice: Index | None = None
    comparison_id: Short | None = None
    value: Annotated[float, Field(ge=0, le=1)] | None = None
    winner: Literal["A", "B", "tie", "both_bad"] | None = None
    text: str | None = None
    reason: Short | None = None
    comment: str | None = None
    metadata: Record = {}
    idempotency_key: Short | None = None
    retracted_at: Time | None = None
    retracted_by: RaterId | None = None
    seq: Index | None = None

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> "_Feedback":
        needed = {
            "thumb": ("value",),
            "score": ("value",),
            "correction": ("text",),
            "choice": ("other_completion_id", "winner"),
        }.get(self.kind, ("other_completion_id",))
        for name in needed:
            if getattr(self, name) is None:
                raise fault(name, f"a {self.kind} needs its {name}")
        if self.kind == "thumb" and self.value not in (0.0, 1.0):
            raise fault("value", f"a thumb is 1.0 (up) or 0.0 (down), not {self.value}")
        return self


class _RawRecord(_Fields):
    feedback: _Feedback
    completion: _Completion
    other: _Completion | None = None

    @model_validator(mode="after")
    def _rates_its_completions(self) -> "_RawRecord":
        given, rated, other = self.feedback, self.completion, self.other
        if (given.completion_id, given.choice) != (rated.id, rated.choice):
            raise fault("completion", f"it is not the completion {given.completion_id!r} that the feedback rates")
        named = (given.other_completion_id, given.other_choice or 0)
        if given.other_completion_id is not None and (other is None or named != (other.id, other.choice)):
            raise fault("other", f"it is not the completion {given.other_completion_id!r} that the feedback names")
        return self


def raw_row(record: Record, live: int, vocab_size: int) -> tuple[list[Completion], Feedback]:
    """Return the row for what another Attune exported.

    Its versions are not ours, so its completions count as imported by version `live`. Raises ValueError that names the
    field at fault, also for token ids from `vocab_size` on.
    """
    named = dict(record)
    for name in ("completion", "other"):
        if name in record:
            named[name] = _with_todays_names(record[name])
    try:
        checked = _RawRecord.model_validate(named)
    except ValidationError as error:
        raise ValueError(str(request_error(error.errors()))) from error
    sides = [checked.completion, *([checked.other] if checked.other is not None else [])]
    for side in sides:
        _require_known_ids(side.prompt_ids, vocab_size)
        _require_known_ids(side.completion_ids, vocab_size)
    completions = [
        replace(
            completion_of_record(side.model_dump()),
            backend=BACKEND,
            version=live if side.version is not None else None,
            logps=[],
            conversation_id=None,
        )
        for side in sides
    ]
    return completions, replace(Feedback(**checked.feedback.model_dump()), comparison_id=None, seq=None)


def _with_todays_names(side: Any) -> Any:
    """Return a side's fields; `reply_ids` is the former name of `completion_ids`."""
    if not isinstance(side, dict):
        return side
    return {"completion_ids" if name == "reply_ids" else name: value for name, value in side.items()}


def _require_known_ids(ids: Sequence[int], vocab_size: int) -> None:
    if ids and max(ids) >= vocab_size:
        raise ValueError(f"the token id {max(ids)} is past this model's vocabulary of {vocab_size} tokens")
