"""One row of a TRL dataset: a prompt with one or two completions, in the preference, unpaired or SFT form.

    {"prompt": ..., "chosen": ..., "rejected": ...}           preference
    {"chosen": ..., "rejected": ...}                          preference, the prompt is what both sides begin with
    {"prompt": ..., "completion": ..., "label": true}         unpaired
    {"prompt": ..., "completion": ...}, {"messages": [...]}   SFT

A prompt is a list of messages, or a string, which counts as one user message. A completion is a string, or a list with
one assistant message. The content of a message is a string or a list of text parts. Tool calls, images and files are
refused: an answer to them without them would teach something else.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from store.errors import StoreError

Form = Literal["preference", "unpaired", "sft"]
Messages = list[dict[str, Any]]
FORMS = (
    "prompt with chosen and rejected, with completion and label, or with completion; "
    "chosen and rejected that begin alike; or messages"
)
MEDIA = ("image", "images", "video", "videos", "audio", "audios", "file", "files", "image_url", "input_audio")
CALLS = ("tools", "tool_calls", "function_call", "tool_call_id")
MESSAGES = "messages are a list of objects with role and content (text)"


class BadRow(StoreError, ValueError):
    """A row is in no form of TRL's, or holds something that is not text. The message does not name the row."""


class TrlRow(NamedTuple):
    """A row as it was parsed.

    `completions` holds the chosen and the rejected text of a preference row, else the one completion. `label` is the
    thumb of an unpaired row (True is up), else None. Texts may be empty: the caller decides what to do with those.
    """

    form: Form
    prompt: Messages
    completions: tuple[str, ...]
    label: bool | None = None


def form_of(row: Mapping[str, Any]) -> Form | None:
    """Return the form that the fields of a row stand for, None for fields of no form."""
    if "chosen" in row and "rejected" in row:
        return "preference"
    if "messages" in row:
        return "sft"
    if "prompt" in row and "completion" in row:
        return "unpaired" if "label" in row else "sft"
    return None


def parse_trl_row(row: Any, form: Form | None = None) -> TrlRow:
    """Parse one row; without `form` its fields decide.

    Raises BadRow with one sentence that names the field at fault.
    """
    if not isinstance(row, Mapping):
        raise BadRow(f"a line is an object with a prompt and completions, not {type(row).__name__}")
    _refuse_fields(row)
    match form or form_of(row):
        case "preference":
            _require(row, "chosen", "rejected")
            prompt, chosen, rejected = _sides(row)
            return TrlRow("preference", prompt, (chosen, rejected))
        case "unpaired":
            _require(row, "prompt", "completion", "label")
            if not isinstance(row["label"], bool):
                raise BadRow(f"label is true or false, not {row['label']!r}")
            return TrlRow("unpaired", _prompt(row["prompt"]), (_completion(row["completion"]),), row["label"])
        case "sft":
            return _demonstration(row)
    raise BadRow(_missing(row))


def _demonstration(row: Mapping[str, Any]) -> TrlRow:
    if "messages" not in row:
        _require(row, "prompt", "completion")
        return TrlRow("sft", _prompt(row["prompt"]), (_completion(row["completion"]),))
    messages = _messages(row["messages"])
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise BadRow("messages must end with the assistant's answer, after at least one other message")
    return TrlRow("sft", messages[:-1], (messages[-1]["content"],))


def _require(row: Mapping[str, Any], *names: str) -> None:
    if not set(names) <= set(row):
        raise BadRow(_missing(row))


def _missing(row: Mapping[str, Any]) -> str:
    hint = "; a text by itself does not show where the completion begins" if "text" in row else ""
    return f"want {FORMS}; found {sorted(row)}{hint}"


def _sides(row: Mapping[str, Any]) -> tuple[Messages, str, str]:
    """Return the prompt, the chosen and the rejected text.

    As in TRL, a missing prompt is what both sides begin with. So is a prompt that is a string beside conversations.
    """
    chosen, rejected = row["chosen"], row["rejected"]
    prompt = _prompt(row["prompt"]) if "prompt" in row else None
    if prompt is None and isinstance(chosen, str) and isinstance(rejected, str):
        return _split_texts(chosen, rejected)
    if prompt is None or _is_conversation(chosen) or _is_conversation(rejected):
        is_text = isinstance(row.get("prompt"), str)
        return _split_conversations(_messages(chosen), _messages(rejected), prompt, is_text)
    return prompt, _completion(chosen), _completion(rejected)


def _is_conversation(side: Any) -> bool:
    return isinstance(side, Sequence) and not isinstance(side, str) and len(side) > 1


def _split_texts(chosen: str, rejected: str) -> tuple[Messages, str, str]:
    """Cut two texts where they begin to differ; a space at the cut belongs to the completions."""
    shorter = min(len(chosen), len(rejected))
    end = next((index for index in range(shorter) if chosen[index] != rejected[index]), shorter)
    lead = "without a prompt, chosen and rejected"
    if end == shorter:
        raise BadRow(f"{lead} differ after what both begin with; here one is the beginning of the other")
    if chosen[:end].endswith(" "):
        end -= 1
    if not chosen[:end].strip():
        raise BadRow(f"{lead} begin with the same text, and these do not; give the prompt")
    return _prompt(chosen[:end]), chosen[end:], rejected[end:]


def _split_conversations(
    chosen: Messages, rejected: Messages, prompt: Messages | None, prompt_is_text: bool
) -> tuple[Messages, str, str]:
    """Take the last message from two conversations that are alike but for it.

    They begin with `prompt` where it is given.
    """
    turns = chosen[:-1]
    if turns != rejected[:-1] or not turns:
        lead = "without a prompt" if prompt is None else "where they are not one message each"
        raise BadRow(f"{lead}, chosen and rejected must begin with the same messages and differ in the last one alone")
    if prompt is not None and turns[: len(prompt)] != prompt:
        raise BadRow(
            "chosen and rejected are conversations that do not begin with the prompt; "
            "give the completions alone, or leave it out"
        )
    if prompt is not None and not prompt_is_text:  # TRL puts it before them, so the conversation would begin twice
        raise BadRow("chosen and rejected begin with the prompt's turns again; leave the prompt out, or those turns")
    return turns, _completion(chosen[-1:]), _completion(rejected[-1:])


def _prompt(value: Any) -> Messages:
    return [{"role": "user", "content": value}] if isinstance(value, str) else _messages(value)


def _completion(value: Any) -> str:
    if isinstance(value, str):
        return value
    messages = _messages(value)
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise BadRow("a completion is a string or one assistant message")
    return str(messages[0]["content"])


def _messages(value: Any) -> Messages:
    is_list = isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0
    if not is_list or not all(isinstance(item, dict) and isinstance(item.get("role"), str) for item in value):
        raise BadRow(MESSAGES)
    roles = {"developer": "system"}  # as the service has it
    return [{"role": roles.get(item["role"], item["role"]), "content": text_of(item)} for item in value]


def _refuse_fields(holder: Mapping[str, Any]) -> None:
    """Raise BadRow for tool calls, images and the like, which are not text."""
    for name in CALLS:
        if holder.get(name):
            raise BadRow(f"tool calls are not supported, and this line has {name}")
    for name in MEDIA:
        if holder.get(name):
            raise BadRow(f"only text is supported, and this line has {name}")


def text_of(message: Mapping[str, Any]) -> str:
    """Return the text of a message; text parts are joined. Raises BadRow for a message with anything else."""
    if message["role"] in ("tool", "function"):
        raise BadRow(f"tool calls are not supported, and this line has a message of the role {message['role']}")
    _refuse_fields(message)
    if "content" in message and message["content"] is None:
        raise BadRow("the content of a message is null; it must be text")
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRow(MESSAGES)
    return "".join(_part(part) for part in content)


def _part(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise BadRow('content is text, or a list of parts such as {"type": "text", "text": ...}')
    if kind != "text":
        raise BadRow(f"content parts of type {kind!r} are not supported; only text is")
    _refuse_fields(part)
    if not isinstance(part.get("text"), str):
        raise BadRow("a content part of type 'text' has no text")
    return str(part["text"])
