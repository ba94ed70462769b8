"""Training files: JSON Lines in TRL's preference, unpaired and SFT forms, read into examples.

    {"prompt": ..., "chosen": ..., "rejected": ...}     preference
    {"chosen": ..., "rejected": ...}                    the same, the prompt being what both begin with: turns, or of
    two strings the text
    {"prompt": ..., "completion": ..., "label": true}   unpaired
    {"prompt": ..., "completion": ...} or {"messages": [...]}   SFT

A prompt is a list of messages, or a string, which counts as one user message; a reply is a string or a list with one
assistant message. What a
message says is a string or a list of text parts.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from learner.errors import BadData
from learner.data.examples import Example, Kind, RenderCompletion, CompletionTokens, is_informative
from learner.data.json_lines import json_lines

Form = Literal["preference", "unpaired", "sft"]
Messages = list[dict[str, Any]]
RATER = "file"
FORMS = "prompt with chosen and rejected, with completion and label, or with completion; chosen and rejected that begin alike; or messages"


class LeftOut(NamedTuple):
    """How many lines of a file are no examples, by reason; as text, a list of those."""

    too_long: int
    say_nothing: int

    def __str__(self) -> str:
        reasons = ("longer than the model's context", "with an empty reply, or the same reply on both sides")
        return ", ".join(f"{count} {reason}" for count, reason in zip(self, reasons, strict=True) if count)


def read_examples(path: Path, render_completion: RenderCompletion, *, max_tokens: int) -> tuple[Form, list[Example], LeftOut]:
    """Return the form of a file, its examples in order, and how many lines were left out, as longer than `max_tokens`
    or as saying nothing.

    Raises BadData, with the line's number, for anything that is not of one form throughout.
    """
    found: list[Example] = []
    form: Form | None = None
    too_long = say_nothing = 0
    for number, row in json_lines(path, "training file"):
        if not isinstance(row, dict):
            raise BadData(
                f"{path}, line {number}: a line is an object with prompt and replies, not {type(row).__name__}"
            )
        its_form, example = _example(row, render_completion, f"{path}, line {number}", number)
        if form is not None and its_form != form:
            raise BadData(
                f"{path}, line {number}: this is a line in the {its_form} form, but the file began in the {form} form; split it"
            )
        form = its_form
        if not is_informative(example):
            say_nothing += 1
        elif len(example.prompt_ids) + max(len(reply.ids) for reply in example.completions) > max_tokens:
            too_long += 1
        else:
            found.append(example)
    if form is None:
        raise BadData(f"{path} holds no examples")
    return form, found, LeftOut(too_long, say_nothing)


def require_both_labels(form: Form, examples: Sequence[Example], file: Path, learner: str) -> None:
    """Raise BadData for thumbs that all point one way: what is better than what they do not tell, and `learner` wants
    to know just that.
    """
    ways = {example.up for example in examples} if form == "unpaired" else set()
    if len(ways) == 1:
        label = str(ways.pop()).lower()
        raise BadData(
            f"every label in {file} is {label}, and {learner} learns from what is better than what; add some of the other"
        )


def _example(row: Mapping[str, Any], render: RenderCompletion, where: str, number: int) -> tuple[Form, Example]:
    if row.get("tools"):
        raise BadData(f"{where}: tool calls are not supported, and this line has tools")
    if "chosen" in row and "rejected" in row:
        prompt, chosen, rejected = _sides(row, where)
        return "preference", _built("pair", render, prompt, chosen, rejected, number)
    if "messages" in row:
        messages = _messages(row["messages"], where)
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            raise BadData(f"{where}: messages end with the assistant's reply, after at least one other message")
        return "sft", _built("thumb", render, messages[:-1], messages[-1]["content"], None, number)
    if "prompt" not in row or "completion" not in row:
        hint = "; a text by itself does not say where the reply begins" if "text" in row else ""
        raise BadData(f"{where}: want {FORMS}; found {sorted(row)}{hint}")
    prompt, text = _prompt(row["prompt"], where), _reply(row["completion"], where)
    if "label" not in row:
        return "sft", _built("thumb", render, prompt, text, None, number)
    if not isinstance(row["label"], bool):
        raise BadData(f"{where}: label is true or false, not {row['label']!r}")
    good, bad = (text, None) if row["label"] else (None, text)
    return "unpaired", _built("thumb", render, prompt, good, bad, number)


def _built(
    kind: Kind, render: RenderCompletion, prompt: Messages, good: str | None, bad: str | None, number: int
) -> Example:
    def rendered(text: str | None) -> CompletionTokens | None:
        if text is None:
            return None
        return CompletionTokens(
            tuple(render(prompt, text)[1]) if text.strip() else ()
        )  # rendered, an empty one would be an end of turn

    prompt_ids, _ = render(prompt, "")
    return Example(kind, tuple(prompt_ids), rendered(good), rendered(bad), RATER, (f"line {number}",), number)


def _sides(row: Mapping[str, Any], where: str) -> tuple[Messages, str, str]:
    """Return prompt and replies. A prompt that is not given, or as a string beside conversations, is what both begin
    with, as in TRL.
    """
    chosen, rejected = row["chosen"], row["rejected"]
    given = _prompt(row["prompt"], where) if "prompt" in row else None
    if given is None and isinstance(chosen, str) and isinstance(rejected, str):
        return _texts_apart(chosen, rejected, where)
    if given is None or any(
        isinstance(side, Sequence) and not isinstance(side, str) and len(side) > 1 for side in (chosen, rejected)
    ):
        return _turns_apart(
            _messages(chosen, where), _messages(rejected, where), given, isinstance(row.get("prompt"), str), where
        )
    return given, _reply(chosen, where), _reply(rejected, where)


def _texts_apart(chosen: str, rejected: str, where: str) -> tuple[Messages, str, str]:
    """Cut two texts where they differ; a space there belongs to the replies."""
    shorter = min(len(chosen), len(rejected))
    end = next((place for place in range(shorter) if chosen[place] != rejected[place]), shorter)
    if end == shorter:
        raise BadData(
            f"{where}: without a prompt, chosen and rejected differ after what both begin with; here one is the beginning of the other"
        )
    if chosen[:end].endswith(" "):
        end -= 1
    if not chosen[:end].strip():
        raise BadData(
            f"{where}: without a prompt, chosen and rejected begin with the same text, and these do not; give the prompt"
        )
    return _prompt(chosen[:end], where), chosen[end:], rejected[end:]


def _turns_apart(
    chosen: Messages, rejected: Messages, given: Messages | None, is_text: bool, where: str
) -> tuple[Messages, str, str]:
    """Take the last message from two conversations, which are alike but for it. A prompt that is `given` too must be
    how they begin.
    """
    turns = chosen[:-1]
    if turns != rejected[:-1] or not turns:
        lead = "without a prompt" if given is None else "where they are not one reply each"
        raise BadData(f"{where}: {lead}, chosen and rejected are conversations that differ in their last message alone")
    if given is not None and turns[: len(given)] != given:
        raise BadData(
            f"{where}: chosen and rejected are conversations that do not begin with the prompt; give the replies alone, or leave it out"
        )
    if given is not None and not is_text:  # TRL puts it before them, and the conversation would begin twice
        raise BadData(
            f"{where}: chosen and rejected begin with the prompt's turns again; leave the prompt out, or those turns"
        )
    return turns, _reply(chosen[-1:], where), _reply(rejected[-1:], where)


def _prompt(value: Any, where: str) -> Messages:
    return [{"role": "user", "content": value}] if isinstance(value, str) else _messages(value, where)


def _reply(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    messages = _messages(value, where)
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise BadData(f"{where}: a reply is a string or one assistant message")
    return str(messages[0]["content"])


def _messages(value: Any, where: str) -> Messages:
    is_list = isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0
    if not is_list or not all(isinstance(item, dict) and isinstance(item.get("role"), str) for item in value):
        raise BadData(f"{where}: messages are a list of objects with role and content (text)")
    return [{"role": item["role"], "content": _content(item, where)} for item in value]


def _content(message: Mapping[str, Any], where: str) -> str:
    """Return what a message says; of text parts all of them, one after the other."""
    if message["role"] in ("tool", "function") or message.get("tool_calls") or message.get("function_call"):
        what = (
            "tool_calls" if message["role"] not in ("tool", "function") else f"a message of the role {message['role']}"
        )
        raise BadData(f"{where}: tool calls are not supported, and this line has {what}")
    if "content" in message and message["content"] is None:
        raise BadData(f"{where}: the content of a message is null; it must be text")
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadData(f"{where}: messages are a list of objects with role and content (text)")
    return "".join(_part(part, where) for part in content)


def _part(part: Any, where: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise BadData(f'{where}: content is text, or a list of parts such as {{"type": "text", "text": ...}}')
    if kind != "text":
        raise BadData(f"{where}: content parts of type {kind!r} are not supported; only text is")
    if not isinstance(part.get("text"), str):
        raise BadData(f"{where}: a content part of type 'text' has no text")
    return str(part["text"])


def render_with(tokenizer: Any) -> Callable[[Sequence[Mapping[str, Any]], str], tuple[list[int], list[int]]]:
    """Return the one rendering of a conversation and a written reply to token ids, for this tokenizer."""
    from policy.chat import render_completion

    # a line that is too long is counted and left out, and never runs through the model: transformers need not warn of
    # it
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    return lambda messages, text: render_completion(tokenizer, [dict(message) for message in messages], text)
