"""Feedback as other programs write it: TRL's forms, our own raw form, and Open WebUI's export. Pure."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from store.completions import Completion
from store.raters import can_be_rater
from store.trl_rows import Form, form_of, parse_trl_row, text_of

ImportFormat = Literal["preference", "unpaired", "sft", "raw", "open-webui"]
Messages = list[dict[str, str]]
Record = dict[str, Any]
IMPORTER = "import"  # the rater of feedback without a name
ROLES = ("system", "user", "assistant")
TOOL_CALLS = '<details type="tool_calls"'  # how Open WebUI writes them into the text of an answer


@dataclass(frozen=True)
class ImportedFeedback:
    """Feedback from elsewhere: a thumb on `completions[0]`, or the preference of `completions[0]` over the second.

    `revision` tells apart several changes of mind on one completion, where the other program records them.
    `is_of_front_end`: it may rate a completion that is here, since the other program asks this service too.
    """

    messages: Messages
    completions: tuple[str, ...]
    kind: Literal["thumb", "preference"]
    value: float | None = None
    rater: str = IMPORTER
    comment: str | None = None
    revision: str | None = None
    is_of_front_end: bool = False

    @property
    def id(self) -> str:
        """The id of the feedback, from its content, so that a second import adds nothing."""
        revision = () if self.revision is None else (self.revision,)
        return _digest(self.messages, self.completions, self.kind, self.value, self.rater, self.comment, *revision)

    @property
    def completion_id(self) -> str:
        """The id of the completions, from their content, so that further feedback on them finds them."""
        return _digest(self.messages, self.completions)

    def rates(self, completion: Completion) -> bool:
        """Whether `completions[0]` is this one of ours: the same text after the same conversation.

        System messages do not count, since front ends add some.
        """
        is_same_conversation = self.is_of_front_end and _turns(completion.messages) == _turns(self.messages)
        return is_same_conversation and completion.text.strip() == self.completions[0].strip()


def _digest(*content: Any) -> str:
    return "import-" + hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:32]


def _turns(messages: Messages) -> list[tuple[str, str]]:
    return [(message["role"], message["content"].strip()) for message in messages if message["role"] != "system"]


def parse_record(record: Any, form: ImportFormat | None) -> ImportedFeedback:
    """Parse a record of TRL's forms or Open WebUI's; without `form` its fields decide. Raises ValueError for people."""
    if not isinstance(record, dict):
        raise ValueError(f"a record is a JSON object, not {type(record).__name__}")
    if is_open_webui(record, form):
        return _of_open_webui(record)
    trl_form: Form | None = form if form in ("preference", "unpaired", "sft") else form_of(record)
    if trl_form is None:
        fields = ", ".join(sorted(record))[:80]
        raise ValueError(
            f"its fields ({fields}) are of no form that is known: preference, unpaired, sft, raw or Open WebUI's"
        )
    return _of_trl(record, trl_form)


def is_raw(record: Any, form: ImportFormat | None) -> bool:
    """Whether a record is in our own raw form."""
    return form == "raw" or (form is None and isinstance(record, dict) and {"feedback", "completion"} <= set(record))


def is_open_webui(record: Any, form: ImportFormat | None) -> bool:
    """Whether a record is one of Open WebUI's."""
    return form == "open-webui" or (form is None and isinstance(record, dict) and {"data", "snapshot"} <= set(record))


def _of_trl(record: Record, form: Form) -> ImportedFeedback:
    row = parse_trl_row(record, form)
    for message in row.prompt:  # which may be empty, as a system message is in many data sets
        _require_role(message["role"], "prompt")
    if row.form != "unpaired":  # a thumb may be about an empty answer
        _require_text(row.completions[0], "chosen" if row.form == "preference" else "completion")
    if row.form == "preference":
        if row.completions[0] == row.completions[1]:
            raise ValueError("chosen and rejected are the same text")
        return ImportedFeedback(row.prompt, row.completions, "preference")
    return ImportedFeedback(row.prompt, row.completions, "thumb", 0.0 if row.label is False else 1.0)


def _of_open_webui(record: Record) -> ImportedFeedback:
    """Return a thumb on one message of the chat in the snapshot.

    An arena vote is a thumb too: the record does not show for sure which other answer was seen.
    """
    data, meta = record.get("data") or {}, record.get("meta") or {}
    rating = str(data.get("rating"))
    if rating not in ("1", "-1"):
        raise ValueError(f"data.rating must be 1 or -1, not {rating}")
    chat = (record.get("snapshot") or {}).get("chat") or {}
    history = (chat.get("history") or (chat.get("chat") or {}).get("history") or {}) if isinstance(chat, dict) else {}
    snapshot: dict[str, Any] = history.get("messages") or {}
    message_id = meta.get("message_id") or history.get("currentId")
    if message_id not in snapshot:
        raise ValueError(f"the snapshot does not hold the message {message_id!r} that was rated")
    messages = _thread(snapshot, message_id)
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise ValueError("what was rated is not an answer of the assistant")
    comment = ": ".join(str(part) for part in (data.get("reason"), data.get("comment")) if part) or None
    rater = f"openwebui:{record['user_id']}" if record.get("user_id") else IMPORTER
    if not can_be_rater(rater):
        limits = "at most 128 printable characters and no slash"
        raise ValueError(f"user_id must make a rater's name of {limits}, unlike {rater[:40]!r}")
    changed_at = record.get("updated_at")  # Open WebUI keeps one record per message and updates it
    revision = f"{record.get('id') or message_id} at {changed_at}" if changed_at is not None else None
    value = 1.0 if rating == "1" else 0.0
    return ImportedFeedback(messages[:-1], (messages[-1]["content"],), "thumb", value, rater, comment, revision, True)


def _thread(snapshot: dict[str, Any], message_id: str) -> Messages:
    """Return the messages from the first to `message_id`, along the parents. Raises ValueError.

    An answer to an image or a file, or one that called tools, would teach something else without them.
    """
    thread: Messages = []
    at = message_id
    while at in snapshot and len(thread) <= len(snapshot):
        message = snapshot[at]
        _require_role(message.get("role"), "snapshot")
        text = _require_text(text_of(message), "snapshot")
        if message["role"] == "assistant" and TOOL_CALLS in text:
            raise ValueError("tool calls are not supported, and an answer of the snapshot has some")
        thread.append({"role": message["role"], "content": text})
        at = message.get("parentId")
    return thread[::-1]


def _require_role(role: Any, name: str) -> None:
    if role not in ROLES:
        raise ValueError(f"{name}: a message's role must be system, user or assistant, not {role!r}")


def _require_text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must hold some text")
    return value
