"""Feedback as other programs read and write it: TRL's dataset forms, our own raw one, and Open WebUI's export. Pure."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from store.completions import Completion
from store.feedback import Feedback
from store.raters import can_be_rater

ExportFormat = Literal["preference", "unpaired", "sft", "raw"]
ImportFormat = Literal["preference", "unpaired", "sft", "raw", "open-webui"]
Messages = list[dict[str, str]]
Record = dict[str, Any]
CompletionOf = Callable[[str, int], Completion]
IMPORTER = "import"  # who says what came without a name


@dataclass(frozen=True)
class Imported:
    """One thing that somebody said elsewhere: of `replies[0]` (thumb), or that `replies[0]` is better than `replies[1]`
    (preference).
    """

    messages: Messages
    replies: tuple[str, ...]
    kind: Literal["thumb", "preference"]
    value: float | None = None
    rater: str = IMPORTER
    comment: str | None = None
    said_as: str | None = (
        None  # which word of theirs it is, where the other program tells: up, down and up again are three
    )

    @property
    def id(self) -> str:
        """The same for the same word of the same person, so that a second import adds nothing."""
        told = () if self.said_as is None else (self.said_as,)
        return _digest(self.messages, self.replies, self.kind, self.value, self.rater, self.comment, *told)

    @property
    def replies_id(self) -> str:
        """The same for the same replies, so that a second word on them is about them too."""
        return _digest(self.messages, self.replies)

    def is_about(self, reply: Completion) -> bool:
        """Whether `replies[0]` is this reply of ours: the same text after the same conversation, but for system
        messages that a front end adds.
        """
        return _turns(reply.messages) == _turns(self.messages) and reply.text.strip() == self.replies[0].strip()


def _digest(*content: Any) -> str:
    return "import-" + hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:32]


def _turns(messages: Messages) -> list[tuple[str, str]]:
    return [(message["role"], message["content"].strip()) for message in messages if message["role"] != "system"]


# Out


def exported(feedback: Feedback, form: ExportFormat, completion_of: CompletionOf) -> list[Record]:
    """Return the lines that one word of feedback makes in a form; none when it says nothing of that sort.

    A score above a half counts as a thumb up; `both_bad` is two thumbs down; a tie is nothing.
    """
    reply = completion_of(feedback.completion_id, feedback.choice)
    other = (
        completion_of(feedback.other_completion_id, feedback.other_choice or 0)
        if feedback.other_completion_id is not None
        else None
    )
    if form == "raw":
        return [
            {
                "feedback": asdict(feedback),
                "completion": asdict(reply),
                "other": asdict(other) if other is not None else None,
            }
        ]
    better, worse = _better_and_worse(feedback, reply, other)
    if form == "preference":
        return (
            [{"prompt": reply.messages, "chosen": _turn(better), "rejected": _turn(worse)}]
            if better and worse and better != worse
            else []
        )
    if form == "unpaired":
        return [
            {"prompt": reply.messages, "completion": _turn(text), "label": label}
            for text, label in _labels(feedback, reply, other)
        ]
    liked = (
        better if better is not None else next((text for text, label in _labels(feedback, reply, other) if label), None)
    )
    return [{"messages": [*reply.messages, *_turn(liked)]}] if liked else []


def _better_and_worse(feedback: Feedback, reply: Completion, other: Completion | None) -> tuple[str | None, str | None]:
    if feedback.kind == "correction":
        return feedback.text, reply.text
    if other is not None and (feedback.kind == "preference" or feedback.winner == "A"):
        return reply.text, other.text
    if other is not None and feedback.winner == "B":
        return other.text, reply.text
    return None, None


def _labels(feedback: Feedback, reply: Completion, other: Completion | None) -> list[tuple[str, bool]]:
    if feedback.kind in ("thumb", "score") and feedback.value is not None and feedback.value != 0.5:
        return [(reply.text, feedback.value > 0.5)]
    if feedback.winner == "both_bad" and other is not None:
        return [(reply.text, False), (other.text, False)]
    return []


def _turn(text: str | None) -> Messages:
    return [{"role": "assistant", "content": text or ""}]


# In


def records_of(body: bytes) -> Iterator[tuple[int, Any]]:
    """Give the records of a JSON array, of one JSON object, or of JSON Lines, with their numbers from 1; a line that is
    no JSON as ValueError.
    """
    text = body.decode("utf-8-sig")  # raises UnicodeDecodeError, which is a ValueError
    start = text.lstrip()[:1]
    if start == "[":
        yield from enumerate(json.loads(text), 1)
        return
    try:
        yield 1, json.loads(text)
        return
    except ValueError:
        pass  # more than one line
    for number, line in enumerate(
        text.split("\n"), 1
    ):  # and at nothing else: JSON may hold U+2028 and the like as they are
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                yield number, ValueError(f"not JSON ({error})")


def imported(record: Any, form: ImportFormat | None) -> Imported:
    """Return what a record says; without `form` its fields tell what it is. Raises ValueError, in words for people."""
    if not isinstance(record, dict):
        raise ValueError(f"a record is a JSON object, not {type(record).__name__}")
    form = form or _form_of(record)
    if form == "open-webui":
        return _of_open_webui(record)
    if form == "preference":
        messages, chosen, rejected = _pair(record)
        if chosen == rejected:
            raise ValueError("chosen and rejected are the same text")
        return Imported(messages, (chosen, rejected), "preference")
    if form == "unpaired":
        if not isinstance(record.get("label"), bool):
            raise ValueError("label must be true or false")
        return Imported(
            _prompt(record), (_text(record.get("completion"), "completion"),), "thumb", float(record["label"])
        )
    return _of_sft(record)


def _form_of(record: Record) -> ImportFormat:
    for form, fields in _FIELDS:
        if fields <= set(record):
            return form
    raise ValueError(
        f"its fields ({', '.join(sorted(record))[:80]}) are of no form that is known: preference, unpaired, sft, raw or Open WebUI's"
    )


_FIELDS: tuple[tuple[ImportFormat, set[str]], ...] = (
    ("raw", {"feedback", "completion"}),
    ("open-webui", {"data", "snapshot"}),
    ("preference", {"chosen", "rejected"}),
    ("unpaired", {"completion", "label"}),
    ("sft", {"messages"}),
    ("sft", {"prompt", "completion"}),
)


def _pair(record: Record) -> tuple[Messages, str, str]:
    chosen, rejected = record.get("chosen"), record.get("rejected")
    if "prompt" in record:
        return _prompt(record), _text(chosen, "chosen"), _text(rejected, "rejected")
    if not (isinstance(chosen, list) and isinstance(rejected, list)):
        raise ValueError("without a prompt, chosen and rejected must be whole conversations")
    if chosen[:-1] != rejected[:-1] or not chosen[:-1]:  # TRL's implicit prompt: what both have in common
        raise ValueError("chosen and rejected must begin with the same messages and differ in the last one")
    return _messages(chosen[:-1], "chosen"), _text(chosen[-1:], "chosen"), _text(rejected[-1:], "rejected")


def _of_sft(record: Record) -> Imported:
    if "completion" in record:
        return Imported(_prompt(record), (_text(record["completion"], "completion"),), "thumb", 1.0)
    messages = _messages(record.get("messages"), "messages")
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise ValueError("messages must end with the assistant's reply to something")
    return Imported(messages[:-1], (messages[-1]["content"],), "thumb", 1.0)


def is_open_webuis(record: Any, form: ImportFormat | None) -> bool:
    """Whether a record is one of Open WebUI's."""
    return form == "open-webui" or (form is None and isinstance(record, dict) and {"data", "snapshot"} <= set(record))


def _of_open_webui(record: Record) -> Imported:
    """A thumb on one message of the chat that the snapshot holds. An arena vote is one too: who else was seen is not
    known for sure.
    """
    data, meta = record.get("data") or {}, record.get("meta") or {}
    rating = str(data.get("rating"))
    if rating not in ("1", "-1"):
        raise ValueError(f"data.rating must be 1 or -1, not {rating}")
    chat = (record.get("snapshot") or {}).get("chat") or {}
    history = (chat.get("history") or (chat.get("chat") or {}).get("history") or {}) if isinstance(chat, dict) else {}
    kept: dict[str, Any] = history.get("messages") or {}
    message_id = meta.get("message_id") or history.get("currentId")
    if message_id not in kept:
        raise ValueError(f"the snapshot does not hold the message {message_id!r} that was rated")
    line: list[dict[str, Any]] = []
    at = message_id
    while at in kept and len(line) <= len(kept):
        line.append({"role": kept[at].get("role"), "content": kept[at].get("content")})
        at = kept[at].get("parentId")
    messages = _messages(line[::-1], "snapshot")
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise ValueError("what was rated is not a reply of the assistant")
    comment = ": ".join(str(part) for part in (data.get("reason"), data.get("comment")) if part) or None
    rater = f"openwebui:{record['user_id']}" if record.get("user_id") else IMPORTER
    if not can_be_rater(rater):
        raise ValueError(
            f"user_id must make a rater's name of at most 128 printable characters and no slash, unlike {rater[:40]!r}"
        )
    changed_at = record.get("updated_at")  # it keeps one record for each message, and changes it with its user's mind
    said_as = f"{record.get('id') or message_id} at {changed_at}" if changed_at is not None else None
    return Imported(
        messages[:-1], (messages[-1]["content"],), "thumb", 1.0 if rating == "1" else 0.0, rater, comment, said_as
    )


def _prompt(record: Record) -> Messages:
    prompt = record.get("prompt")
    return (
        [{"role": "user", "content": prompt}]
        if isinstance(prompt, str) and prompt.strip()
        else _messages(prompt, "prompt")
    )


def _messages(value: Any, name: str) -> Messages:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{name} must be text or a list of messages")
    found = []
    for message in value:
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("system", "user", "assistant"):
            raise ValueError(f"{name}: a message's role must be system, user or assistant, not {role!r}")
        found.append({"role": role, "content": _text(message.get("content"), name)})
    return found


def _text(value: Any, name: str) -> str:
    """Return text, the text of a list of parts, or that of a one-message conversation."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and "role" in value[0]:
        value = value[0].get("content")
    if isinstance(value, list):
        value = "".join(str(part.get("text", "")) for part in value if isinstance(part, dict))
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must hold some text")
    return value
